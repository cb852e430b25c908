/** How many permits the server gives itself. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { choosePermits } from '#vitserve/pipeline/line.js';

const found = { imagesPerSecond: 300, fewest: 40, slots: 136, freeBytes: 2 ** 30, slotBytes: 3_136 };

describe('permits', () => {
  test('are as many as the machine finishes in a second', () => {
    assert.equal(choosePermits(found), 300);
    assert.equal(choosePermits({ ...found, imagesPerSecond: 299.6 }), 300);
  });

  test('keep every process at work where that is slow', () => {
    assert.equal(choosePermits({ ...found, imagesPerSecond: 0.2 }), 40);
  });

  test('fit half of the free shared memory, beside the slots that there are, and leave eight to prove versions on', () => {
    assert.equal(choosePermits({ ...found, freeBytes: 0 }), 128);
    assert.equal(choosePermits({ ...found, freeBytes: 2 * 100 * 3_136 }), 228);
    assert.equal(choosePermits({ ...found, freeBytes: 2 * 100 * 3_136 - 1 }), 227);
  });

  test('are no more than 65,536', () => {
    assert.equal(choosePermits({ ...found, imagesPerSecond: 1e9, freeBytes: 2 ** 50 }), 65_536);
  });

  test('never want more memory than half of what is free, and are never none', () => {
    const shape = fc.record({
      imagesPerSecond: fc.double({ min: 0, max: 1e6, noNaN: true }),
      fewest: fc.integer({ min: 4, max: 10_000 }),
      freeBytes: fc.integer({ min: 0, max: 2 ** 40 }),
      slotBytes: fc.integer({ min: 67, max: 2 ** 26 }),
    });
    fc.assert(
      fc.property(shape, (machine) => {
        const permits = choosePermits({ ...machine, slots: 136 });
        assert.ok(Number.isInteger(permits) && permits > 0);
        assert.ok(Math.max(0, permits + 8 - 136) * machine.slotBytes <= machine.freeBytes / 2);
      }),
    );
  });
});
