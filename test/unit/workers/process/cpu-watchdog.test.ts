/** A limit that counts what a process has used, and not what has passed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CpuWatchdog, type Expiry } from '#vitserve/workers/process/cpu-watchdog.js';
import { FakeClock } from '../../../support/fake-clock.js';

const LIMIT_MS = 1_600;
const PART_MS = LIMIT_MS / 16;

/**
 * A process that uses this share of a core, told in the kernel's steps of 10 ms; null: the system
 * does not tell.
 */
function stand(share: number | null) {
  const clock = new FakeClock();
  const expired: [Expiry, number][] = [];
  const uses = { share, before: 5_000, since: 0 };
  const cpuMs = () =>
    uses.share === null
      ? null
      : Math.floor((uses.before + (clock.now() - uses.since) * uses.share) / 10) * 10;
  const watchdog = new CpuWatchdog(clock, LIMIT_MS, cpuMs, (expiry) =>
    expired.push([expiry, clock.now()]),
  );
  return { clock, expired, watchdog, uses };
}

describe('a limit on processor time', () => {
  test('is over when so much was used since the first look, whatever the process had used before', () => {
    const { clock, expired, watchdog } = stand(1);
    watchdog.start();
    clock.advance(100 * LIMIT_MS);
    assert.deepEqual(expired, [['cpu', LIMIT_MS + PART_MS]]);
    assert.equal(clock.timers, 0);
  });

  test('is over sooner for a process of several threads', () => {
    const { clock, expired, watchdog } = stand(4);
    watchdog.start();
    clock.advance(LIMIT_MS);
    assert.deepEqual(expired, [['cpu', LIMIT_MS / 4 + PART_MS]]);
  });

  test('is not over for one that others leave a fifth of a core, until it has used it', () => {
    const { clock, expired, watchdog } = stand(0.2);
    watchdog.start();
    clock.advance(5 * LIMIT_MS);
    assert.deepEqual(expired, []);
    clock.advance(PART_MS);
    assert.deepEqual(expired, [['cpu', 5 * LIMIT_MS + PART_MS]]);
  });

  test('is given up after ten times as long where others leave it next to nothing', () => {
    const { clock, expired, watchdog } = stand(0.05);
    watchdog.start();
    clock.advance(100 * LIMIT_MS);
    assert.deepEqual(expired, [['wall', 10 * LIMIT_MS]]);
  });

  test('is given up as stuck when the process uses nothing for as long as the limit', () => {
    const { clock, expired, watchdog, uses } = stand(0.5);
    watchdog.start();
    clock.advance(LIMIT_MS);
    assert.deepEqual(expired, []);
    Object.assign(uses, { share: 0, before: 5_000 + LIMIT_MS / 2, since: clock.now() });
    clock.advance(LIMIT_MS);
    assert.deepEqual(expired, [['idle', 2 * LIMIT_MS]]);
  });

  test('does not take one for stuck that others leave little, however small the limit', () => {
    const clock = new FakeClock();
    const expired: Expiry[] = [];
    const cpuMs = () => Math.floor((clock.now() * 0.1) / 10) * 10;
    new CpuWatchdog(clock, 100, cpuMs, (expiry) => expired.push(expiry)).start();
    clock.advance(950);
    assert.deepEqual(expired, []);
    clock.advance(150);
    assert.deepEqual(expired, ['cpu']);
  });

  test('is one on the wall where the system does not tell what was used', () => {
    const { clock, expired, watchdog } = stand(null);
    watchdog.start();
    clock.advance(100 * LIMIT_MS);
    assert.deepEqual(expired, [['untold', LIMIT_MS]]);
  });

  test('says nothing after it was stopped, and begins anew when it is started again', () => {
    const { clock, expired, watchdog } = stand(1);
    watchdog.start();
    clock.advance(LIMIT_MS - 1);
    watchdog.start();
    clock.advance(LIMIT_MS);
    assert.deepEqual(expired, []);
    watchdog.stop();
    clock.advance(10 * LIMIT_MS);
    assert.deepEqual([expired, clock.timers], [[], 0]);
  });
});
