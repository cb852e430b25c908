/** Estimated completion: by hand, and against a simulation. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { estimateCompletionMs } from '#vitserve/server/scheduling/completion-estimate.js';
import { CostTable } from '#vitserve/server/scheduling/cost-table.js';
import { deadlineUnreachable, rejectionOf } from '#vitserve/server/scheduling/deadline-check.js';
import { WorkerLoad } from '#vitserve/server/scheduling/workers.js';
import { simulate } from './simulation.js';

/** Ten milliseconds, and two for each image. */
const costs = new CostTable();
costs.record(1, 12);
costs.record(4, 18);

const predict = (
  ahead: number,
  freeInMs: readonly number[],
  { alone = 0, maxBatchSize = 4, gapMs = Number.POSITIVE_INFINITY } = {},
) => estimateCompletionMs({ freeInMs, alone, ahead, maxBatchSize, gapMs, costs });

describe('an image', () => {
  for (const [what, ahead, freeInMs, expected] of [
    ['that finds a free process is answered in the time of one', 0, [0], 12],
    ['waits for the process that is free first', 0, [30, 7], 19],
    ['goes with those that wait', 2, [5], 5 + 16],
    ['waits for a full batch before it', 4, [0], 18 + 12],
    ['shares the free processes with those that wait', 3, [0, 0], 14],
    ['takes its turn where one process is free before the other', 5, [0, 15], 15 + 14],
    ['waits for whole rounds', 4 * 2 * 100, [0, 5], 100 * 18 + 12],
  ] as const) {
    test(what, () => assert.equal(predict(ahead, freeInMs), expected));
  }

  test('has its batch filled up by images that arrive while it waits', () => {
    assert.equal(predict(0, [30], { gapMs: 15 }), 30 + 16);
    assert.equal(predict(0, [30], { gapMs: 0 }), 30 + 18);
    assert.equal(predict(0, [0], { gapMs: 0 }), 12);
  });

  test('waits for those that are executed alone', () => {
    assert.equal(predict(0, [0], { alone: 2 }), 3 * 12);
    assert.equal(predict(0, [0, 0], { alone: 1 }), 12);
  });

  test('has no estimate where no process takes batches or no cost is known', () => {
    assert.equal(predict(0, []), null);
    assert.equal(
      estimateCompletionMs({
        freeInMs: [0],
        alone: 0,
        ahead: 0,
        maxBatchSize: 4,
        gapMs: 1,
        costs: new CostTable(),
      }),
      null,
    );
  });

  test('is answered at the estimated time, apart from later images that share its batch', async () => {
    const arrival = fc.record({ atMs: fc.nat({ max: 300 }), deadlineMs: fc.constant(null) });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 5 }),
        fc.array(arrival, { minLength: 1, maxLength: 40 }),
        async (workers, maxBatchSize, arrivals) => {
          const serviceMs = (size: number) => 10 + 2 * size;
          const warmUpCosts = [1, 5].map((batchSize) => ({
            batchSize,
            milliseconds: serviceMs(batchSize),
          }));
          const images = await simulate({
            ...{ workers, maxBatchSize, serviceMs, warmUpCosts, overtakingLimitMs: 1_000 },
            arrivals: arrivals.sort((one, other) => one.atMs - other.atMs),
          });
          for (const { index, atMs, predictedAt, endedAt } of images) {
            // An image that finds a process free a second after the last measurement, or before the
            // first, is not judged.
            if (predictedAt === null || predictedAt === atMs) continue;
            const off = endedAt - predictedAt;
            assert.ok(
              Math.abs(off) <= serviceMs(maxBatchSize),
              `image ${index} was answered ${off} ms later than predicted`,
            );
          }
        },
      ),
      { numRuns: 500, seed: 1 },
    );
  });
});

describe('the work of a process', () => {
  test('is timed from when it had nothing else to do', () => {
    const work = new WorkerLoad();
    const first = work.begin(1, 100);
    const second = work.begin(4, 101);
    work.answered(1, 130);
    work.answered(0, 160);
    assert.deepEqual([first.tookMs, second.tookMs], [30, 30]);
    const third = work.begin(1, 500);
    work.answered(0, 512);
    assert.equal(third.tookMs, 12);
  });

  test('takes as long as what is left of it costs, and never less than nothing', () => {
    const work = new WorkerLoad();
    assert.equal(work.remainingMs(costs, 0), 0);
    work.begin(1, 0);
    work.begin(4, 0);
    assert.equal(work.images, 5);
    assert.equal(work.remainingMs(costs, 5), 7 + 18);
    assert.equal(work.remainingMs(costs, 5_000), 18);
    work.answered(1, 5_000);
    assert.equal(work.remainingMs(costs, 5_008), 10);
  });

  test('forgets a failed batch', () => {
    const work = new WorkerLoad();
    work.begin(1, 0);
    work.forget(work.begin(4, 0));
    assert.equal(work.images, 1);
  });
});

describe('the rejection', () => {
  test('says how much time would be enough, and when to retry', () => {
    const error = deadlineUnreachable(240.2, 99.9);
    assert.equal(error.reason, 'DEADLINE_UNREACHABLE');
    assert.match(error.message, /deadline is in 99 ms .* needs 241 ms at .*: allow that much/);
    assert.equal(error.retryAfterMs, 141);
    assert.equal(deadlineUnreachable(100, 99.5).retryAfterMs, 10);
    assert.equal(deadlineUnreachable(1e6, 1).retryAfterMs, 5_000);
    assert.equal(deadlineUnreachable(5, 0).reason, 'DEADLINE_EXCEEDED');
  });

  test('adds a quarter to the estimate', () => {
    assert.equal(rejectionOf(79, 100), null);
    assert.match(rejectionOf(88, 100)?.message ?? '', /in 100 ms .* needs 110 ms/);
  });
});
