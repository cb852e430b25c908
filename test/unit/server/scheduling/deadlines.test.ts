/**
 * Deadlines in the dispatcher: order, smaller batches, and rejections.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { SECONDS_OF_WORK } from '#vitserve/server/admission/permit-limit.js';
import { OVERTAKING_LIMIT_MS } from '#vitserve/server/scheduling/scheduling-deadline.js';
import { settled } from '../../../support/fake-worker.js';
import { chance, simulate } from './simulation.js';
import { answer, createStand, type NumberWorker, type Stand } from './stand.js';

/** A stand with one worker that is busy with image 0; a batch costs 10 ms and 2 for each image. */
function busyStand(maxBatchSize = 4): Stand & { readonly worker: NumberWorker } {
  const stand = createStand({ maxBatchSize });
  const [worker] = stand.workers;
  assert.ok(worker);
  for (const size of [1, 4]) stand.costs.record(size, 10 + 2 * size);
  stand.add();
  return { ...stand, worker };
}

const add = (stand: Stand, expiresAt: number, schedulingDeadline = expiresAt) =>
  stand.add(undefined, { expiresAt, schedulingDeadline });

/** The image that is executed has been for as long as it takes. */
function finish(stand: Stand & { readonly worker: NumberWorker }): void {
  stand.clock.advance(10 + 2 * (stand.worker.pending[0]?.length ?? 0));
  answer(stand.worker);
}

describe('order', () => {
  test('the earliest deadline goes first, and equal ones in order of arrival', () => {
    const stand = busyStand(8);
    for (const expiresAt of [900, 300, 900, 600, 300]) add(stand, expiresAt);
    finish(stand);
    assert.deepEqual(stand.worker.pending, [[2, 5, 4, 1, 3]]);
  });
});

describe('a deadline', () => {
  test('that cannot be met any more rejects its image when a process is free', async () => {
    const stand = busyStand();
    const late = add(stand, 23);
    const other = add(stand, 100);
    finish(stand);
    await settled();
    assert.deepEqual(stand.worker.pending, [[2]]);
    assert.ok(late.state.kind === 'rejected' && late.state.error instanceof RequestError);
    assert.equal(late.state.error.reason, 'DEADLINE_UNREACHABLE');
    assert.match(late.state.error.message, /deadline is in 11 ms .* needs 12 ms/);
    assert.equal(other.state.kind, 'open');
  });

  test('that can only just be met alone is met, and the others follow', () => {
    const stand = busyStand();
    add(stand, 12 + 12);
    for (let image = 0; image < 2; image++) add(stand, 500);
    finish(stand);
    assert.deepEqual(stand.worker.pending, [[1]]);
    finish(stand);
    assert.deepEqual(stand.worker.pending, [[2, 3]]);
  });

  test('that only a small batch can meet rejects its image where a full one waits', async () => {
    const stand = busyStand();
    const early = add(stand, 12 + 15);
    for (let image = 0; image < 4; image++) add(stand, 500);
    await settled();
    assert.equal(early.state.kind, 'rejected');
    assert.deepEqual(stand.worker.pending, [[0], [2, 3, 4, 5]]);
  });

  test('makes a batch as large as it allows', () => {
    const stand = busyStand();
    add(stand, 12 + 15);
    for (let image = 0; image < 2; image++) add(stand, 500);
    finish(stand);
    assert.deepEqual(stand.worker.pending, [[1, 2]]);
  });

  test('of a rejected image leaves no listener on its signal', async () => {
    const stand = busyStand();
    const { signal } = new AbortController();
    stand.add(signal, { expiresAt: 13 });
    finish(stand);
    await settled();
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });

  test('is not judged by an old measurement, where a process is free', async () => {
    const stand = busyStand();
    finish(stand);
    await settled();
    stand.clock.advance(900);
    assert.equal(stand.dispatcher.estimateMs(0), 12);
    const judged = add(stand, stand.clock.now() + 5);
    await settled();
    assert.equal(judged.state.kind, 'rejected');
    stand.clock.advance(101);
    assert.equal(stand.dispatcher.estimateMs(0), 0);
    add(stand, stand.clock.now() + 5);
    assert.deepEqual(stand.worker.pending, [[2]]);
    add(stand, stand.clock.now() + 5);
    finish(stand);
    assert.deepEqual(stand.worker.pending, [], 'and only one at a time');
  });

  test('is judged by executed batches: a skipped one says nothing', async () => {
    const stand = busyStand();
    stand.clock.advance(40);
    stand.worker.reply({ kind: 'skipped' });
    await settled();
    assert.equal(stand.costs.of(1), 12);
    for (let batch = 0; batch < 20; batch++) {
      stand.add();
      stand.clock.advance(30);
      answer(stand.worker);
      await settled();
    }
    assert.equal(stand.costs.of(1), 30);
  });
});

describe('at three times the capacity', () => {
  /** Poisson arrivals with deadlines of 100 ms; two processes, 20 ms ± 30 % a batch of 4. */
  const day = async (load: number) => {
    const random = chance(11);
    const serviceMs = (size: number) => (4 + 4 * size) * (0.7 + 0.6 * random());
    let atMs = 0;
    const lengthMs = 5_000;
    const arrivals = [];
    for (
      const meanGap = 20 / 8 / load;
      atMs < lengthMs;
      atMs += -Math.log(1 - random()) * meanGap
    ) {
      arrivals.push({ atMs, deadlineMs: 100 });
    }
    const images = await simulate({
      ...{ workers: 2, maxBatchSize: 4, overtakingLimitMs: 1_000, serviceMs, arrivals },
      warmUpCosts: [1, 4].map((batchSize) => ({ batchSize, milliseconds: 4 + 4 * batchSize })),
    });
    const of = (outcome: string) => images.filter((image) => image.outcome === outcome);
    return {
      images,
      goodput: of('answered').filter((i) => i.endedAt <= i.expiresAt).length / lengthMs,
      of,
    };
  };

  test('as many images as ever are answered in time, and rejections are immediate', async () => {
    const [peak, flood] = [await day(0.95), await day(3)];
    assert.ok(
      flood.goodput >= 0.95 * peak.goodput,
      `${flood.goodput} images/ms, ${peak.goodput} at 95 %`,
    );
    const refused = flood.of('rejected');
    const atOnce = refused.filter(({ atMs, endedAt }) => endedAt === atMs);
    assert.ok(
      atOnce.length >= 0.98 * refused.length,
      `${atOnce.length} of ${refused.length} at once`,
    );
    const inVain = flood.images.filter(
      ({ givenAt, outcome }) => givenAt !== null && outcome !== 'answered',
    ).length;
    assert.ok(inVain <= 0.02 * flood.of('answered').length, `${inVain} executed in vain`);
  });

  test('no image is rejected at half the capacity', async () => {
    const calm = await day(0.5);
    assert.equal(calm.of('rejected').length, 0);
  });
});

test('the longest queue of calls without a deadline delays no call with one', async () => {
  // A hundred images a second can be answered: the queue is full from the start and stays so.
  const queued = Array.from({ length: SECONDS_OF_WORK * 100 }, (_, index) => ({
    atMs: index / 100,
    deadlineMs: null,
  }));
  const later = Array.from({ length: 900 }, (_, index) => ({
    atMs: 12 + index * 12,
    deadlineMs: null,
  }));
  const urgent = Array.from({ length: 80 }, (_, index) => ({
    atMs: 2_000 + index * 100,
    deadlineMs: 1_000,
  }));
  const images = await simulate({
    ...{ workers: 1, maxBatchSize: 1, overtakingLimitMs: OVERTAKING_LIMIT_MS, serviceMs: () => 10 },
    warmUpCosts: [{ batchSize: 1, milliseconds: 10 }],
    arrivals: [...queued, ...later, ...urgent].sort((one, other) => one.atMs - other.atMs),
  });
  const answered = images.filter(
    ({ deadlineMs, outcome }) => deadlineMs !== null && outcome === 'answered',
  );
  assert.equal(answered.length, urgent.length);
  assert.ok(
    images.every(({ deadlineMs, outcome }) => deadlineMs !== null || outcome === 'answered'),
  );
});
