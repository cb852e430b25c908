/** The queue against a sorted array, and the order of images. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DeadlineQueue, type Ordered } from '#vitserve/server/scheduling/deadline-queue.js';
import { schedulingDeadlineOf } from '#vitserve/server/scheduling/scheduling-deadline.js';

type Command =
  | { readonly kind: 'add' | 'delete' | 'count'; readonly value: number }
  | { readonly kind: 'shift' };

const value = fc.nat({ max: 12 });
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('add' as const), value }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('delete' as const), value: fc.nat({ max: 60 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('count' as const), value }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('shift' as const) }) },
);

describe('the queue', () => {
  test('behaves as a sorted array', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
        const queue = new DeadlineQueue<Ordered>();
        const all: Ordered[] = [];
        let sorted: Ordered[] = [];
        for (const each of commands) {
          if (each.kind === 'add') {
            const entry = { schedulingDeadline: each.value, order: all.length };
            all.push(entry);
            queue.add(entry);
            sorted.push(entry);
            sorted.sort(
              (one, other) =>
                one.schedulingDeadline - other.schedulingDeadline || one.order - other.order,
            );
          } else if (each.kind === 'delete') {
            const entry = all[each.value];
            if (entry === undefined) continue;
            assert.equal(queue.delete(entry), sorted.includes(entry));
            sorted = sorted.filter((other) => other !== entry);
          } else if (each.kind === 'count') {
            assert.equal(
              queue.countBefore(each.value),
              sorted.filter(({ schedulingDeadline }) => schedulingDeadline <= each.value).length,
            );
          } else assert.equal(queue.shift(), sorted.shift());
          assert.equal(queue.size, sorted.length);
          assert.equal(queue.first, sorted[0]);
        }
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  test('keeps its branches short, even where images arrive in order', () => {
    const queue = new DeadlineQueue<Ordered>();
    const entries = Array.from({ length: 100_000 }, (_, order) => ({
      schedulingDeadline: order,
      order,
    }));
    // Each takes as many steps as the branch is long: a list would take five thousand million.
    for (const entry of entries) queue.add(entry);
    assert.equal(queue.countBefore(49_999), 50_000);
    for (const entry of entries) assert.equal(queue.shift(), entry);
    assert.equal(queue.size, 0);
  });
});

describe('schedulingDeadline', () => {
  const LIMIT = 1_000;
  const unary = (admittedAt: number, expiresAt = Number.POSITIVE_INFINITY) =>
    schedulingDeadlineOf({ record: { admittedAt, expiresAt }, ofStream: false }, LIMIT);
  const stream = (admittedAt: number, expiresAt = Number.POSITIVE_INFINITY) =>
    schedulingDeadlineOf({ record: { admittedAt, expiresAt }, ofStream: true }, LIMIT);

  test('is the deadline, the earliest first', () => {
    assert.ok(unary(50, 200) < unary(0, 300));
  });

  test('is no later than the limit after the arrival, so no image waits for ever', () => {
    assert.equal(unary(10), 1_010);
    assert.equal(unary(10, 60_000), 1_010);
    assert.ok(unary(0) < unary(900, 1_001));
  });

  test('of a stream is after that of every unary call within the limit, and before that of any more than twice as late', () => {
    assert.ok(unary(999) < stream(0));
    assert.ok(unary(0, 30_000) < stream(0, 10));
    assert.ok(stream(0) < unary(1_001));
    assert.ok(stream(0) < unary(2_001, 2_002));
    assert.ok(stream(0) < stream(1));
  });
});
