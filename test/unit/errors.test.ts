/** Errors as values: what they carry, and what becomes of things that were thrown elsewhere. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import {
  allOrProblems,
  describeReason,
  messageOf,
  REASONS,
  type Reason,
  RequestError,
  SetupError,
  toRequestError,
} from '#vitserve/errors.js';

describe('the table of reasons', () => {
  const rows = (Object.keys(REASONS) as Reason[]).map((reason) => ({
    reason,
    ...describeReason(reason),
  }));

  test('has names that gRPC clients can take for what they are', () => {
    for (const { reason } of rows) assert.match(reason, /^[A-Z][A-Z0-9_]{2,62}$/);
  });

  test('blames a field exactly where the request is at fault', () => {
    for (const { reason, status, field } of rows) {
      // What can't be read has no fields.
      const isRequest =
        reason !== 'REQUEST_MALFORMED' && (status === 'INVALID_ARGUMENT' || status === 'NOT_FOUND');
      assert.equal(field !== undefined, isRequest, reason);
    }
  });

  test('never invites a retry of what the same request can not mend', () => {
    const retried = rows.filter(({ retryable }) => retryable).map(({ status }) => status);
    assert.deepEqual([...new Set(retried)].sort(), ['RESOURCE_EXHAUSTED', 'UNAVAILABLE']);
  });
});

describe('promises of which some fail', () => {
  test('give their values in order when none fails', async () => {
    const [text, number] = await allOrProblems([Promise.resolve('a'), 1]);
    assert.deepEqual([text.toUpperCase(), number.toFixed(1)], ['A', '1.0']);
  });

  test('throw all problems as one, after all have settled', async () => {
    let settled = false;
    const slow = setImmediate().then(() => {
      settled = true;
      throw new SetupError('usage', ['c: mend it']);
    });
    const failure = allOrProblems([
      Promise.reject(new SetupError('environment', ['a: mend it', 'b: mend it'])),
      Promise.resolve(1),
      slow,
    ]);
    await assert.rejects(
      failure,
      new SetupError('usage', ['a: mend it', 'b: mend it', 'c: mend it']),
    );
    assert.ok(settled);
  });

  test('throw another kind of failure as it is', async () => {
    const other = new TypeError('broken');
    await assert.rejects(
      allOrProblems([
        Promise.reject(new SetupError('usage', ['a: mend it'])),
        Promise.reject(other),
      ]),
      other,
    );
  });
});

describe('a request error', () => {
  test('carries its reason, its text, its cause and when to come back', () => {
    const cause = new Error('why');
    const error = new RequestError('OVERLOADED', 'full', { cause, retryAfterMs: 20 });
    assert.deepEqual(
      [error.name, error.reason, error.message, error.cause, error.retryAfterMs],
      ['RequestError', 'OVERLOADED', 'full', cause, 20],
    );
  });

  test('without a cause has no such property', () => {
    const error = new RequestError('INTERNAL', 'text');
    assert.ok(!('cause' in error));
    assert.equal(error.retryAfterMs, undefined);
  });
});

describe('anything thrown', () => {
  test('that is a request error stays the same one', () => {
    const error = new RequestError('DRAINING', 'stopping');
    assert.equal(toRequestError(error), error);
  });

  for (const thrown of [
    new Error('secret'),
    new SetupError('usage', ['secret']),
    'secret',
    7,
    { secret: true },
  ]) {
    test(`that is ${thrown instanceof Error ? thrown.name : typeof thrown} is INTERNAL with generic text, and its cause is kept`, () => {
      const error = toRequestError(thrown);
      assert.equal(error.reason, 'INTERNAL');
      assert.equal(error.message, 'internal error: see the log of the server');
      assert.equal(error.cause, thrown);
    });
  }

  test('that is nothing is INTERNAL all the same', () => {
    assert.equal(toRequestError(undefined).reason, 'INTERNAL');
    assert.equal(toRequestError(null).reason, 'INTERNAL');
  });

  test('has a text', () => {
    assert.deepEqual(
      [new Error('broken'), 'text', 7, null, undefined, Symbol('s')].map(messageOf),
      ['broken', 'text', '7', 'null', 'undefined', 'Symbol(s)'],
    );
  });
});

test('a setup error has its problems one by one, and one a line in its message', () => {
  const cause = new Error('why');
  const error = new SetupError('usage', ['one: mend it', 'two: mend that'], { cause });
  assert.deepEqual(
    [error.name, error.kind, error.problems, error.message, error.cause],
    [
      'SetupError',
      'usage',
      ['one: mend it', 'two: mend that'],
      'one: mend it\ntwo: mend that',
      cause,
    ],
  );
});
