/** What batches cost, learnt from noisy measurements. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CostTable } from '#vitserve/server/scheduling/cost-table.js';
import { chance } from './simulation.js';

function tableOf(
  rows: Readonly<Record<number, number>>,
  fixedSizes: readonly number[] | null = null,
): CostTable {
  const table = new CostTable(fixedSizes);
  for (const [size, milliseconds] of Object.entries(rows)) table.record(Number(size), milliseconds);
  return table;
}

const near = (actual: number | null, expected: number, tolerance = 1e-9) =>
  assert.ok(
    actual !== null && Math.abs(actual - expected) <= tolerance,
    `${actual}, expected ${expected}`,
  );

describe('the cost of a batch', () => {
  test('is unknown before the first measurement', () => {
    assert.equal(new CostTable().of(1), null);
    assert.deepEqual(new CostTable().rows, []);
  });

  test('of a measured size is the measurement', () => {
    const table = tableOf({ 1: 10, 4: 22 });
    assert.deepEqual([table.of(1), table.of(4)], [10, 22]);
    assert.deepEqual(table.rows, [
      { batchSize: 1, milliseconds: 10 },
      { batchSize: 4, milliseconds: 22 },
    ]);
  });

  test('of other sizes is interpolated and extrapolated', () => {
    const table = tableOf({ 1: 10, 4: 22, 8: 26 });
    near(table.of(2), 14);
    near(table.of(6), 24);
    near(table.of(12), 30);
  });

  test('of less than the smallest measured size is its share, and of more than the only one the same', () => {
    const table = tableOf({ 8: 24 });
    near(table.of(2), 6);
    near(table.of(16), 24);
  });

  test('is never more than that of a larger batch: the newer measurement counts', () => {
    const table = tableOf({ 1: 40, 4: 22, 8: 26 });
    const costs = () => [1, 4, 8].map((size) => table.of(size));
    assert.deepEqual(costs(), [22, 22, 26]);
    table.record(1, 40);
    assert.deepEqual(costs(), [40, 40, 40]);
    table.record(8, 30);
    assert.deepEqual(costs(), [28, 28, 28]);
  });

  test('is that of the size that the batch is padded to', () => {
    const table = tableOf({ 1: 10, 4: 22, 8: 26 }, [1, 4, 8]);
    assert.deepEqual(
      [1, 2, 3, 4, 5, 8].map((size) => table.of(size)),
      [10, 22, 22, 22, 26, 26],
    );
    table.record(3, 22);
    assert.deepEqual(
      table.rows.map(({ batchSize }) => batchSize),
      [1, 4, 8],
    );
  });

  test('rises with the size and lies within the measurements', () => {
    const measured = fc.array(
      fc.tuple(fc.integer({ min: 1, max: 40 }), fc.double({ min: 0.01, max: 1e4, noNaN: true })),
      {
        minLength: 1,
        maxLength: 80,
      },
    );
    fc.assert(
      fc.property(measured, (samples) => {
        const table = new CostTable();
        for (const [size, milliseconds] of samples) table.record(size, milliseconds);
        let last = 0;
        for (let size = 1; size <= 60; size++) {
          const cost = table.of(size) ?? Number.NaN;
          assert.ok(cost >= last * (1 - 1e-9), `${size} images cost ${cost}, one less ${last}`);
          last = cost;
        }
        const most = Math.max(...samples.map(([, milliseconds]) => milliseconds));
        for (const { milliseconds } of table.rows) assert.ok(milliseconds <= most * (1 + 1e-9));
      }),
      { seed: 1 },
    );
  });
});

describe('a table in a noisy world', () => {
  test('comes near the mean', () => {
    const random = chance(7);
    for (const mean of [0.5, 8, 300]) {
      const table = new CostTable();
      for (let batch = 0; batch < 200; batch++) table.record(4, mean * (0.7 + 0.6 * random()));
      near(table.of(4), mean, 0.12 * mean);
    }
  });

  test('hardly notices a pause, however long', () => {
    const table = new CostTable();
    for (let batch = 0; batch < 30; batch++) table.record(1, batch % 10 === 5 ? 60_000 : 10);
    near(table.of(1), 10, 2);
  });

  test('forgets a cold start after a few batches', () => {
    const table = new CostTable();
    table.record(1, 3_000);
    for (let batch = 0; batch < 4; batch++) table.record(1, 10);
    near(table.of(1), 10, 2.1);
  });

  test('follows a machine that becomes slower or faster, within as many batches as it remembers', () => {
    const table = tableOf({});
    for (const level of [10, 35, 8]) {
      for (let batch = 0; batch < 15; batch++) table.record(2, level);
      near(table.of(2), level);
    }
  });

  test('ignores outliers that are fewer than half of its samples, in any order', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...Array(15).keys()], { minLength: 0, maxLength: 7 }),
        (outliers) => {
          const table = new CostTable();
          for (let batch = 0; batch < 15; batch++)
            table.record(1, outliers.includes(batch) ? 1e6 : 10);
          assert.ok((table.of(1) ?? 0) <= 20, `${table.of(1)}`);
        },
      ),
      { seed: 1 },
    );
  });
});
