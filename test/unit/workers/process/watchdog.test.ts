/** A time limit that counts only time which passed for us too. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Watchdog } from '#vitserve/workers/process/watchdog.js';
import { FakeClock } from '../../../support/fake-clock.js';

function stand() {
  const clock = new FakeClock();
  const expired: number[] = [];
  return { clock, expired, watchdog: new Watchdog(clock, 1_000, () => expired.push(clock.now())) };
}

describe('a watchdog', () => {
  test('calls once, when the time is over', () => {
    const { clock, expired, watchdog } = stand();
    watchdog.start();
    clock.advance(999);
    assert.deepEqual(expired, []);
    clock.advance(10_000);
    assert.deepEqual(expired, [1_000]);
    assert.equal(clock.timers, 0);
  });

  test('says nothing after it was stopped, at whatever point', () => {
    for (const afterMs of [0, 100, 250, 999]) {
      const { clock, expired, watchdog } = stand();
      watchdog.start();
      clock.advance(afterMs);
      watchdog.stop();
      clock.advance(10_000);
      assert.deepEqual([expired, clock.timers], [[], 0]);
    }
  });

  test('that is started again begins anew', () => {
    const { clock, expired, watchdog } = stand();
    watchdog.start();
    clock.advance(900);
    watchdog.start();
    clock.advance(999);
    assert.deepEqual(expired, []);
    clock.advance(1);
    assert.deepEqual(expired, [1_900]);
  });

  test('is not used up by a pause of everything, however long', () => {
    let now = 0;
    let due: () => void = () => {};
    let dueAt = 0;
    const clock = {
      now: () => now,
      after(delayMs: number, callback: () => void) {
        [due, dueAt] = [callback, now + delayMs];
        return () => {};
      },
    };
    let expired = 0;
    new Watchdog(clock, 1_000, () => expired++).start();
    // An hour in which nothing ran; the timer that is overdue comes first.
    now += 3_600_000;
    due();
    assert.equal(expired, 0);
    assert.equal(dueAt - now, 250);
    for (let part = 0; part < 3; part++) {
      now = dueAt;
      due();
    }
    assert.equal(expired, 1);
  });
});
