/** What is counted and when, with a server and a clock of the test's own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MOST_IN_FLIGHT } from '#vitserve/client/bench/load.js';
import type { Outcome } from '#vitserve/client/bench/tally.js';
import { measured, OK, type Stand } from './stand.js';

const OVERLOADED: Outcome = {
  code: 'RESOURCE_EXHAUSTED',
  reason: 'OVERLOADED',
  message: 'full',
  timing: null,
};
const NO_CONNECTION: Outcome = {
  code: 'UNAVAILABLE',
  reason: '',
  message: 'no connection',
  timing: null,
};

/**
 * Answers each call after 10 ms, one at a time, in their order; stands still between these times.
 */
function server(stallFrom: number, stallUntil: number) {
  return ({ clock, later }: Stand) => {
    let freeAt = 0;
    return async (): Promise<Outcome> => {
      const begin = Math.max(clock.now(), freeAt);
      const stalled = begin >= stallFrom && begin < stallUntil;
      freeAt = (stalled ? stallUntil : begin) + 10;
      await later(freeAt - clock.now());
      return OK;
    };
  };
}

function isNear(value: number | undefined, wanted: number, tolerance: number): void {
  assert.ok(
    value !== undefined && Math.abs(value - wanted) <= tolerance,
    `${value}, expected ${wanted} ± ${tolerance}`,
  );
}

describe('a closed loop', () => {
  test('keeps as many calls in flight as there are callers', async () => {
    let underWay = 0;
    let most = 0;
    const { callsPerSecond, goodputPerSecond, latencyMs, outcomes, unfinished } = await measured(
      { load: { kind: 'closed', callers: 4 }, durationMs: 1000 },
      ({ later }) =>
        async () => {
          most = Math.max(most, ++underWay);
          await later(20);
          underWay--;
          return OK;
        },
    );
    assert.equal(most, 4);
    isNear(callsPerSecond, 200, 8);
    assert.equal(goodputPerSecond, callsPerSecond);
    isNear(latencyMs?.p50, 20, 1.1);
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      ['OK'],
    );
    assert.equal(unfinished, 0);
  });

  test('does not spin without a server, and gives up', async () => {
    let calls = 0;
    const { lost, outcomes, latencyMs, seconds, unfinished } = await measured(
      { load: { kind: 'closed', callers: 2 } },
      ({ later }) => {
        return async () => {
          calls++;
          await later(1);
          return NO_CONNECTION;
        };
      },
    );
    assert.equal(lost, true);
    assert.equal(latencyMs, null);
    isNear(seconds, 5, 0.2);
    assert.ok(calls >= 80 && calls <= 104, `${calls} calls`);
    assert.deepEqual(outcomes, [
      { code: 'UNAVAILABLE', reason: '', message: 'no connection', calls: calls - unfinished },
    ]);
  });

  test('goes on if the server comes back, or itself answers that it is unavailable', async () => {
    for (const reason of ['', 'DRAINING']) {
      const { lost } = await measured(
        { load: { kind: 'closed', callers: 1 } },
        ({ clock, later }) =>
          async () => {
            await later(5);
            const comesBack = reason === '' && clock.now() % 4000 < 150;
            return comesBack
              ? OVERLOADED
              : { code: 'UNAVAILABLE', reason, message: '', timing: null };
          },
      );
      assert.equal(lost, false);
    }
  });
});

describe('an open loop', () => {
  test('calls at its rate, whatever the server does', async () => {
    const load = { kind: 'open', ratePerSecond: 50, seed: 1 } as const;
    const fast = await measured({ load }, server(0, 0));
    isNear(fast.callsPerSecond, 50, 5);
    const slow = await measured({ load, timeoutMs: 20_000 }, ({ later }) => async () => {
      await later(15_000);
      return OK;
    });
    assert.equal(slow.callsPerSecond, 0, 'no answer arrived within the measured time');
    assert.equal(slow.latencyMs?.p50 !== undefined && slow.latencyMs.p50 > 14_900, true);
    assert.deepEqual(slow.outcomes, fast.outcomes);
  });

  test('shows a stall in every call that it delayed; a closed loop shows it once', async () => {
    const closed = await measured({ load: { kind: 'closed', callers: 1 } }, server(4000, 5000));
    const open = await measured(
      { load: { kind: 'open', ratePerSecond: 40, seed: 1 } },
      server(4000, 5000),
    );
    isNear(closed.latencyMs?.max, 1010, 5);
    isNear(closed.latencyMs?.p99, 10, 2);
    isNear(open.latencyMs?.max, 1010, 60);
    assert.ok((open.latencyMs?.p99 ?? 0) > 800, `p99 ${open.latencyMs?.p99}`);
    assert.ok((open.latencyMs?.p50 ?? 0) < 40, `p50 ${open.latencyMs?.p50}`);
  });

  test('counts latency from when a call was due, even if the generator was late', async () => {
    let held = false;
    const { latencyMs, sendLagMs } = await measured(
      { load: { kind: 'open', ratePerSecond: 100, seed: 2 } },
      ({ clock, jump }) =>
        async () => {
          if (clock.now() > 2000 && !held) {
            held = true;
            jump(1000);
          }
          return OK;
        },
    );
    isNear(sendLagMs?.max, 1000, 20);
    isNear(latencyMs?.max, 1000, 20);
    assert.ok((latencyMs?.p99 ?? 0) > 850, `p99 ${latencyMs?.p99}`);
  });

  test('bounds the calls in flight, and reports those that it could not send in time', async () => {
    let underWay = 0;
    let most = 0;
    const { outcomes, callsPerSecond } = await measured(
      { load: { kind: 'open', ratePerSecond: 1500, seed: 1 }, durationMs: 4000, timeoutMs: 1000 },
      ({ later }) =>
        async () => {
          most = Math.max(most, ++underWay);
          await later(2500);
          underWay--;
          return { code: 'DEADLINE_EXCEEDED', reason: '', message: 'no connection', timing: null };
        },
    );
    assert.equal(most, MOST_IN_FLIGHT);
    const calls = (code: string) => outcomes.find((outcome) => outcome.code === code)?.calls ?? 0;
    assert.ok(calls('NOT_SENT') > 0);
    isNear(calls('NOT_SENT') + calls('DEADLINE_EXCEEDED'), 6000, 250);
    isNear(callsPerSecond, MOST_IN_FLIGHT / 4, 1);
  });
});

describe('counts', () => {
  test('nothing of the warm-up, though the load goes on without a gap', async () => {
    const times: number[] = [];
    const { outcomes, seconds, callsPerSecond } = await measured(
      { load: { kind: 'closed', callers: 1 }, warmUpMs: 2000, durationMs: 3000 },
      ({ clock, later }) =>
        async () => {
          times.push(clock.now());
          await later(100);
          return clock.now() <= 2000 ? OVERLOADED : OK;
        },
    );
    assert.equal(seconds, 3);
    isNear(callsPerSecond, 10, 0.4);
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      ['OK'],
    );
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    assert.ok(Math.max(...gaps) <= 102, 'no gap');
    assert.ok(times.length >= 48);
  });

  test('only calls answered OK within the deadline as goodput', async () => {
    const { callsPerSecond, goodputPerSecond, failureLatencyMs, latencyMs } = await measured(
      { load: { kind: 'open', ratePerSecond: 100, seed: 5 }, timeoutMs: 50 },
      ({ later }) => {
        let call = 0;
        return async () => {
          const kind = call++ % 4;
          await later(kind === 3 ? 80 : 5);
          return kind === 0 ? OVERLOADED : OK;
        };
      },
    );
    isNear(callsPerSecond, 100, 8);
    isNear(goodputPerSecond / callsPerSecond, 0.5, 0.02);
    isNear(failureLatencyMs?.p99, 5, 1.5);
    isNear(latencyMs?.max, 80, 2);
  });

  test('the server’s own times, and the rest of the whole', async () => {
    const { server: told } = await measured(
      { load: { kind: 'closed', callers: 3 }, durationMs: 600 },
      ({ later }) =>
        async () => {
          await later(20);
          return { ...OK, timing: { decodeMs: 4, queueMs: 3, inferenceMs: 8, batchSize: 3 } };
        },
    );
    assert.ok(told !== null);
    isNear(told.decodeMs.mean, 4, 0.01);
    isNear(told.queueMs.mean, 3, 0.01);
    isNear(told.inferenceMs.mean, 8, 0.01);
    isNear(told.elsewhereMs.mean, 5, 0.5);
    assert.equal(told.meanBatchSize, 3);
    assert.deepEqual(Object.keys(told.batchSizes), ['3']);
  });

  test('executions, not images, in the mean batch size', async () => {
    let call = 0;
    const { server: told } = await measured(
      { load: { kind: 'closed', callers: 1 }, durationMs: 600 },
      ({ later }) =>
        async () => {
          await later(5);
          // Two images of a batch of two for each image alone: two executions for three images.
          return {
            ...OK,
            timing: {
              decodeMs: 1,
              queueMs: 0,
              inferenceMs: 1,
              batchSize: call++ % 3 === 0 ? 1 : 2,
            },
          };
        },
    );
    isNear(told?.meanBatchSize, 1.5, 0.02);
  });
});

describe('ended early', () => {
  test('the figures are those so far, and no call is awaited', async () => {
    const enough = new AbortController();
    const { seconds, outcomes, unfinished, lost } = await measured(
      { load: { kind: 'closed', callers: 2 }, warmUpMs: 1000, signal: enough.signal },
      ({ clock, later }) => {
        clock.after(5000, () => enough.abort());
        return async () => {
          await later(clock.now() < 3000 ? 100 : 100_000);
          return OK;
        };
      },
    );
    isNear(seconds, 4, 0.01);
    assert.equal(unfinished, 2);
    isNear(outcomes[0]?.calls, 40, 2);
    assert.equal(lost, false);
  });

  test('within the warm-up there are none', async () => {
    const enough = new AbortController();
    const { seconds, outcomes, callsPerSecond, generator } = await measured(
      { load: { kind: 'open', ratePerSecond: 10, seed: 1 }, warmUpMs: 5000, signal: enough.signal },
      ({ clock }) => {
        clock.after(1000, () => enough.abort());
        return async () => OK;
      },
    );
    assert.deepEqual([seconds, outcomes, callsPerSecond, generator.cpuMsPerCall], [0, [], 0, null]);
  });
});
