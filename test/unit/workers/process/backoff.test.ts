/** The waits between restarts. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Backoff } from '#vitserve/workers/process/backoff.js';

describe('the wait before a restart', () => {
  const evenly = () => new Backoff(() => 0.5);

  test('doubles from 100 ms to 10 s and stays there, however long the storm is', () => {
    const backoff = evenly();
    const waits = Array.from({ length: 2_000 }, () => Math.round(backoff.nextMs(0)));
    assert.deepEqual(waits.slice(0, 9), [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    assert.equal(waits.at(-1), 10_000);
  });

  test('grows also while processes come up and die within five seconds', () => {
    const backoff = evenly();
    assert.deepEqual(
      [4_999, 5_000, 5_000].map((servedMs) => Math.round(backoff.nextMs(servedMs))),
      [100, 200, 400],
    );
  });

  test('begins again after a process that served for longer', () => {
    const backoff = evenly();
    for (let loss = 0; loss < 5; loss++) backoff.nextMs(0);
    assert.equal(Math.round(backoff.nextMs(5_001)), 100);
    assert.equal(Math.round(backoff.nextMs(0)), 200);
  });

  test('is spread by a fifth to either side', () => {
    assert.equal(Math.round(new Backoff(() => 0).nextMs(0)), 80);
    assert.equal(Math.round(new Backoff(() => 1).nextMs(0)), 120);
  });
});
