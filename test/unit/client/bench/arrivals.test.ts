/** Random arrivals are those of a Poisson process, and the same for the same seed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { poissonArrivals, seededRandom } from '#vitserve/client/bench/arrivals.js';

const COUNT = 100_000;

function gaps(ratePerSecond: number, seed: number): number[] {
  const next = poissonArrivals(ratePerSecond, seededRandom(seed));
  let before = 0;
  return Array.from({ length: COUNT }, () => {
    const at = next();
    const gap = at - before;
    before = at;
    return gap;
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function isNear(value: number, wanted: number, share: number): void {
  assert.ok(
    Math.abs(value / wanted - 1) < share,
    `${value}, expected ${wanted} ± ${share * 100} %`,
  );
}

describe('uniform numbers', () => {
  test('fill [0, 1) evenly, also in pairs', () => {
    const random = seededRandom(7);
    const cells = new Array<number>(100).fill(0);
    for (let pair = 0; pair < COUNT; pair++) {
      const [x, y] = [random(), random()];
      assert.ok(x >= 0 && x < 1 && y >= 0 && y < 1);
      const cell = Math.floor(x * 10) * 10 + Math.floor(y * 10);
      cells[cell] = (cells[cell] ?? 0) + 1;
    }
    // 1,000 expected in each, with a standard deviation of 31.
    for (const count of cells)
      assert.ok(count > 850 && count < 1150, `${count} of ${COUNT} pairs in one of 100 cells`);
  });
});

describe('Poisson arrivals', () => {
  test('come at the given rate, with gaps that are exponential and independent', () => {
    const found = gaps(200, 1);
    isNear(mean(found), 5, 0.02);
    assert.ok(found.every((gap) => gap >= 0));
    // A share of exp(-k) of exponential gaps is longer than k means; of evenly spaced calls none
    // would be.
    for (const means of [0.5, 1, 3]) {
      isNear(found.filter((gap) => gap > 5 * means).length / COUNT, Math.exp(-means), 0.05);
    }
    const deviations = found.map((gap) => gap - 5);
    const products = deviations
      .slice(1)
      .map((deviation, index) => deviation * (deviations[index] ?? 0));
    assert.ok(Math.abs(mean(products) / 25) < 0.02, 'the next gap does not follow from the last');
  });

  test('are the same for the same seed, and different for another', () => {
    assert.deepEqual(gaps(50, 3).slice(0, 100), gaps(50, 3).slice(0, 100));
    assert.notDeepEqual(gaps(50, 3).slice(0, 100), gaps(50, 4).slice(0, 100));
  });
});
