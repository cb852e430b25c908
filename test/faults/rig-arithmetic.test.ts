/** The counts and fits of the rig, on known figures. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '#vitserve/client/bench/arrivals.js';
import { type Circumstances, type Failure, type Fate, fateOf, Ledger } from './rig/ledger.js';
import type { Sample } from './rig/observer.js';
import { robustSlope } from './rig/slope.js';
import { descriptorGrowth, memorySlope } from './rig/verdict.js';

const failure = (code: string, reason: string | null = null, message = ''): Failure => ({
  code,
  reason,
  message,
});

describe('the fate of a request', () => {
  const rows: readonly (readonly [
    string,
    string | Failure,
    Circumstances,
    Fate['kind'],
    string?,
  ])[] = [
    ['the expected answer', 'A', { expected: 'A' }, 'right'],
    ['another answer', 'B', { expected: 'A' }, 'wrong'],
    [
      'the expected rejection',
      failure('INVALID_ARGUMENT', 'X'),
      { expected: 'INVALID_ARGUMENT X' },
      'right',
    ],
    [
      'another rejection',
      failure('INVALID_ARGUMENT', 'Y'),
      { expected: 'INVALID_ARGUMENT X' },
      'wrong',
    ],
    ['an answer to a bad image', 'A', { expected: 'INVALID_ARGUMENT X' }, 'wrong'],
    ['a good image called bad', failure('INVALID_ARGUMENT', 'X'), { expected: 'A' }, 'wrong'],
    [
      'no permit',
      failure('RESOURCE_EXHAUSTED', 'OVERLOADED'),
      { expected: 'A' },
      'refused',
      'OVERLOADED',
    ],
    ['a drain', failure('UNAVAILABLE', 'DRAINING'), { expected: 'A' }, 'refused', 'DRAINING'],
    [
      'a missing server',
      failure('UNAVAILABLE', null, 'connect ECONNREFUSED'),
      { expected: 'A' },
      'refused',
      'NO_CONNECTION',
    ],
    [
      'a connection that broke',
      failure('UNAVAILABLE', null, 'Connection dropped'),
      { expected: 'A' },
      'failed',
    ],
    [
      'lost processes',
      failure('UNAVAILABLE', 'PROCESS_LOST'),
      { expected: 'A' },
      'failed',
      'UNAVAILABLE PROCESS_LOST',
    ],
    ['our own cancelling', failure('CANCELLED'), { expected: 'A', cancelled: true }, 'cancelled'],
    ['cancelled by another client', failure('CANCELLED'), { expected: 'A' }, 'failed'],
    [
      'our own deadline',
      failure('DEADLINE_EXCEEDED'),
      { expected: 'A', hasDeadline: true },
      'expired',
    ],
    ['a deadline that was not set', failure('DEADLINE_EXCEEDED'), { expected: 'A' }, 'failed'],
  ];
  for (const [what, outcome, circumstances, kind, text] of rows) {
    test(`with ${what} is: ${kind}`, () => {
      const fate = fateOf(outcome, circumstances);
      assert.equal(fate.kind, kind);
      if (text !== undefined) assert.equal('what' in fate && fate.what, text);
    });
  }
});

describe('the ledger', () => {
  test('counts requests from both sides: open ones are lost, second answers surplus', () => {
    const ledger = new Ledger();
    const [first, second] = [ledger.sent('one'), ledger.sent('two')];
    ledger.sent('two');
    first.ended({ kind: 'right' });
    second.ended({ kind: 'refused', what: 'OVERLOADED' });
    second.ended({ kind: 'right' });
    ledger.unasked();
    const { sent, right, refused, lost, surplus, byActor } = ledger.totals();
    assert.deepEqual(
      { sent, right, refused, lost, surplus },
      { sent: 3, right: 1, refused: { OVERLOADED: 1 }, lost: 1, surplus: 2 },
    );
    assert.deepEqual(byActor.two, { sent: 2, right: 0, refused: 1, failed: 0 });
  });

  test('cuts windows that add up to the whole', () => {
    const ledger = new Ledger();
    const windows = [1, 2, 3].map((count) => {
      for (let at = 0; at < count; at++) ledger.sent('one').ended({ kind: 'right' });
      return ledger.cut().right;
    });
    assert.deepEqual(windows, [1, 2, 3]);
    assert.equal(ledger.totals().right, 6);
  });
});

describe('the slope', () => {
  const random = seededRandom(1);
  const noisy = (slope: number, count: number) =>
    Array.from({ length: count }, (_, x) => ({
      x,
      y: 100 + slope * x + 4 * (random() - 0.5) + (x % 9 === 0 ? 80 : 0),
    }));

  test('of a growing series is found through noise and outliers', () => {
    const fit = robustSlope(noisy(0.5, 120));
    assert(
      fit && fit.low > 0.45 && fit.high < 0.55 && fit.low <= fit.slope && fit.slope <= fit.high,
      JSON.stringify(fit),
    );
  });

  test('of a constant one has 0 in its interval', () => {
    const fit = robustSlope(noisy(0, 120));
    assert(fit && fit.low < 0 && fit.high > 0, JSON.stringify(fit));
  });

  test('of very many points is that of their medians', () => {
    const fit = robustSlope(noisy(0.01, 5_000));
    assert(fit && Math.abs(fit.slope - 0.01) < 0.001, JSON.stringify(fit));
  });

  test('of fewer than four points is unknown', () => assert.equal(robustSlope(noisy(1, 3)), null));
});

describe('growth', () => {
  const samples = (frontDescriptors: (at: number) => number): Sample[] =>
    Array.from({ length: 40 }, (_, at) => ({
      at: at * 60_000,
      memoryMib: at < 20 ? 100 + 10 * at : 300 + 0.1 * at,
      frontMib: null,
      frontDescriptors: frontDescriptors(at),
      processes: 5,
      server: null,
    }));

  test("of memory is that of the second half: a young process's growth does not count", () => {
    const slope = memorySlope(samples(() => 40));
    assert(
      slope &&
        Math.abs(slope.mibPerHour.slope - 6) < 0.01 &&
        Math.abs(slope.grownMib.slope - 1.9) < 0.01,
      JSON.stringify(slope),
    );
  });

  test('of descriptors compares the end with the middle', () => {
    assert.equal(descriptorGrowth(samples((at) => 40 + (at % 3))), 0);
    assert.equal(descriptorGrowth(samples((at) => 40 + at)), 20);
  });
});
