/** Percentiles of durations, against sorted ones. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '#vitserve/client/bench/arrivals.js';
import { Durations } from '#vitserve/client/bench/durations.js';

describe('durations', () => {
  test('of nothing are null', () => {
    assert.equal(new Durations().summary(), null);
  });

  test('have percentiles within 0.1 % of the exact ones, from microseconds to minutes', () => {
    const random = seededRandom(1);
    const durations = new Durations();
    const values = Array.from({ length: 20_000 }, () => 0.005 * 10 ** (7 * random()));
    for (const value of values) durations.record(value);
    const sorted = values.toSorted((a, b) => a - b);
    const summary = durations.summary();
    assert.ok(summary !== null);
    for (const [name, share] of [
      ['p50', 0.5],
      ['p90', 0.9],
      ['p99', 0.99],
      ['p999', 0.999],
      ['max', 1],
    ] as const) {
      const exact = sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
      assert.ok(
        Math.abs(summary[name] / exact - 1) < 0.0011,
        `${name}: ${summary[name]}, exactly ${exact}`,
      );
    }
    const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
    assert.ok(Math.abs(summary.mean / mean - 1) < 0.0011);
  });

  test('of zero, below zero or without end count as the shortest or the longest', () => {
    const durations = new Durations();
    for (const value of [0, -3, Number.POSITIVE_INFINITY]) durations.record(value);
    const summary = durations.summary();
    assert.equal(summary?.p50, 0.001);
    assert.ok((summary?.max ?? 0) >= 3_600_000);
  });
});
