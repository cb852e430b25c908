/** Two sessions side by side, on a clock that they move themselves. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compareAnswers, compareSpeed } from '#vitserve/workers/inference/compare-sessions.js';
import type { Session } from '#vitserve/workers/inference/session.js';

const PIXELS = new Uint8Array(3);

function session(run: (pixels: Uint8Array) => number[]): Session {
  return {
    executionProvider: 'cpu',
    classCount: 2,
    embeddingSize: 0,
    run: async (pixels) => ({ scores: Float32Array.from(run(pixels)), embeddings: null }),
  };
}

describe('compareSpeed', () => {
  const clock = { time: 0, now: () => clock.time, after: () => () => {} };
  const slow = (durations: readonly number[], order: string[], name: string) => {
    let turn = 0;
    return session(() => {
      order.push(name);
      clock.time += durations[turn++ % durations.length] as number;
      return [1, 0];
    });
  };

  test('takes turns, and gives the medians whatever single turns do', async () => {
    const order: string[] = [];
    const before = slow([8, 8, 8, 8, 900], order, 'before');
    const after = slow([2, 2, 700, 2, 2], order, 'after');
    const found = await compareSpeed(before, after, PIXELS, { budgetMs: 0, clock });
    assert.deepEqual(found, { beforeMs: 8, afterMs: 2, ratio: 4, turns: 7 });
    assert.ok(order.every((name, at) => name === (at % 2 === 0 ? 'before' : 'after')));
  });

  test('goes on for as long as the budget allows', async () => {
    const found = await compareSpeed(slow([6], [], ''), slow([4], [], ''), PIXELS, {
      budgetMs: 1000,
      clock,
    });
    assert.equal(found.turns, 100);
  });
});

test('compareAnswers counts equal top classes, and keeps the largest difference', async () => {
  const before = session(([value = 0]) => [0.6, 0.4 + value / 1000]);
  const after = session(([value = 0]) => (value === 9 ? [0.25, 0.75] : [0.5, 0.5 - value / 10]));
  const images = [0, 1, 9].map((value) => Uint8Array.of(value, 0, 0));
  const { images: count, sameTop1, maxDifference } = await compareAnswers(before, after, images);
  assert.deepEqual([count, sameTop1], [3, 2]);
  assert.ok(Math.abs(maxDifference - 0.35) < 1e-6, `${maxDifference}`);
});
