/** The system's clock, with timers that never really run. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { systemClock } from '#vitserve/clock.js';

describe('the time', () => {
  test('is CLOCK_MONOTONIC in milliseconds, which other processes of the machine read too', () => {
    const before = Number(process.hrtime.bigint() / 1_000n) / 1_000;
    const now = systemClock.now();
    const after = Number(process.hrtime.bigint() / 1_000n) / 1_000;
    assert.ok(before <= now && now <= after + 0.001);
  });

  test('never goes back, and has fractions of a millisecond', () => {
    const times = Array.from({ length: 1_000 }, () => systemClock.now());
    for (const [index, time] of times.entries())
      assert.ok(index === 0 || time >= (times[index - 1] ?? 0));
    assert.ok(times.some((time) => !Number.isInteger(time)));
  });
});

describe('a timer', () => {
  /** What `setTimeout` was given by `after`, and whether the timer keeps the process alive. */
  function timerOf(delayMs: number): { readonly delay: number; readonly isRef: boolean } {
    const real = globalThis.setTimeout;
    let seen: { delay: number; isRef: boolean } | undefined;
    globalThis.setTimeout = ((callback: () => void, delay: number) => {
      const timer = real(callback, delay);
      const unref = timer.unref.bind(timer);
      timer.unref = () => {
        if (seen) seen.isRef = false;
        return unref();
      };
      seen = { delay, isRef: true };
      return timer;
    }) as typeof setTimeout;
    try {
      systemClock.after(delayMs, () => assert.fail('the timer was cancelled'))();
    } finally {
      globalThis.setTimeout = real;
    }
    assert.ok(seen);
    return seen;
  }

  test('is set for its delay and does not keep the process alive', () => {
    assert.deepEqual(timerOf(1_234), { delay: 1_234, isRef: false });
  });

  test('in the past is due at once', () => {
    assert.equal(timerOf(-5).delay, 0);
  });

  test('too far ahead for setTimeout is set as far as that goes, and not due at once', () => {
    assert.equal(timerOf(2 ** 31).delay, 2 ** 31 - 1);
    assert.equal(timerOf(Number.POSITIVE_INFINITY).delay, 2 ** 31 - 1);
  });

  test('calls back once, and not at all when it was cancelled', (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const called: string[] = [];
    systemClock.after(10, () => called.push('kept'));
    const cancel = systemClock.after(10, () => called.push('cancelled'));
    cancel();
    context.mock.timers.tick(9);
    assert.deepEqual(called, []);
    context.mock.timers.tick(100);
    assert.deepEqual(called, ['kept']);
  });
});
