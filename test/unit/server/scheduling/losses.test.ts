/** Batches that their process does not answer. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MAX_ATTEMPTS } from '#vitserve/server/scheduling/dispatcher.js';
import { Workers } from '#vitserve/server/scheduling/workers.js';
import { ProcessLostError } from '#vitserve/workers/worker.js';
import { type Outcome, settled } from '../../../support/fake-worker.js';
import { answer, createStand, type NumberWorker } from './stand.js';

/** A stand with one worker and a queue of `images` that is sent as soon as the worker is ready. */
function standWith(images: number, maxBatchSize = 4) {
  const stand = createStand({ maxBatchSize, ready: false });
  const [worker] = stand.workers;
  assert.ok(worker);
  const outcomes = Array.from({ length: images }, () => stand.add());
  return { ...stand, worker, outcomes };
}

/** Loses the process and brings it back. */
async function crash(worker: NumberWorker): Promise<void> {
  worker.lose();
  await settled();
  worker.recover();
}

const isLost = (state: Outcome<string>) =>
  state.kind === 'rejected' && state.error instanceof ProcessLostError;

describe('a lost process', () => {
  test('has not answered: an idle one still measures an outdated cost table', async () => {
    const { workers, costs, clock } = createStand({ maxBatchSize: 1 });
    const [worker] = workers as [NumberWorker];
    const watched = new Workers(workers, costs, clock, 1, () => {});
    clock.advance(5_000);
    const batch = watched.run(worker, [1]).catch(() => {});
    worker.lose();
    await batch;
    worker.recover();
    assert.ok(watched.probes());
    const answered = watched.run(worker, [1]);
    worker.answer('1!');
    await answered;
    assert.ok(!watched.probes());
  });

  test('its batch is retried image by image, before later images', async () => {
    const { worker, outcomes, add, retries } = standWith(3);
    worker.recover();
    const later = add();
    await crash(worker);
    assert.equal(retries.count, 3);
    for (let turn = 0; turn < 4; turn++) {
      answer(worker);
      await settled();
    }
    assert.deepEqual(worker.sent, [[0, 1, 2], [0], [1], [2], [3]]);
    assert.deepEqual(
      [...outcomes, later].map(({ state }) => state),
      ['0!', '1!', '2!', '3!'].map((value) => ({ kind: 'resolved', value })),
    );
  });

  test(`at most ${MAX_ATTEMPTS} processes get an image; the loss of the last is its error`, async () => {
    const { worker, outcomes, retries } = standWith(1);
    worker.recover();
    for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt++) {
      await crash(worker);
      assert.deepEqual(outcomes[0]?.state, { kind: 'open' });
    }
    await crash(worker);
    assert.ok(outcomes[0] && isLost(outcomes[0].state));
    assert.equal(worker.sent.length, MAX_ATTEMPTS);
    assert.equal(retries.count, MAX_ATTEMPTS - 1);
  });

  for (const maxBatchSize of [1, 4]) {
    test(`an image that kills every process takes no other with it (batches of ${maxBatchSize})`, async () => {
      const { worker, outcomes, dispatcher } = standWith(12, maxBatchSize);
      const killer = 2;
      worker.recover();
      for (let turn = 0; turn < 200 && dispatcher.queueLength + worker.inFlight > 0; turn++) {
        if (worker.pending[0]?.includes(killer)) await crash(worker);
        else answer(worker);
        await settled();
      }
      for (const [image, { state }] of outcomes.entries()) {
        if (image === killer) assert.ok(isLost(state));
        else assert.deepEqual(state, { kind: 'resolved', value: `${image}!` });
      }
    });
  }

  test('a retried image waits behind no batch in its process', async () => {
    const { worker } = standWith(2);
    worker.recover();
    await crash(worker);
    assert.deepEqual(worker.pending, [[0]]);
    answer(worker);
    assert.deepEqual(worker.pending, [[1]]);
  });

  test('full batches in advance do not delay a retried image', async () => {
    const stand = createStand({ workers: 2, maxBatchSize: 2 });
    const [first, second] = stand.workers;
    assert.ok(first && second);
    stand.add();
    stand.add();
    for (let image = 2; image < 20; image++) stand.add();
    first.lose();
    await settled();
    for (let turn = 0; turn < 2; turn++) {
      answer(second);
      await settled();
    }
    assert.deepEqual(second.pending[0], [0]);
  });

  test('another process takes over at once where one is free', async () => {
    const stand = createStand({ workers: 2, maxBatchSize: 4 });
    const [first, second] = stand.workers;
    const image = stand.add();
    first?.lose();
    await settled();
    assert.deepEqual(second?.pending, [[0]]);
    assert.deepEqual(image.state, { kind: 'open' });
  });

  test('an image cancelled during the lost execution is not retried', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const [worker] = stand.workers;
    const leaving = new AbortController();
    const reason = new Error('gone');
    const image = stand.add(leaving.signal);
    leaving.abort(reason);
    assert.ok(worker);
    await crash(worker);
    assert.deepEqual(image.state, { kind: 'rejected', error: reason });
    assert.equal(worker.sent.length, 1);
    assert.equal(stand.retries.count, 0);
  });

  test('an image that waits for its retry can be cancelled', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const [worker] = stand.workers;
    const leaving = new AbortController();
    const reason = new Error('gone');
    const image = stand.add(leaving.signal);
    worker?.lose();
    await settled();
    assert.equal(stand.dispatcher.queueLength, 1);
    leaving.abort(reason);
    assert.equal(stand.dispatcher.queueLength, 0);
    await settled();
    assert.deepEqual(image.state, { kind: 'rejected', error: reason });
    worker?.recover();
    assert.equal(worker?.sent.length, 1);
  });
});

describe('an image is suspected', () => {
  const suspected = (stand: ReturnType<typeof createStand>, verdict: Error | null = null) => {
    const suspicions: number[] = [];
    let images = 0;
    const add = () => {
      const image = images++;
      const suspect = () => {
        suspicions.push(image);
        return verdict;
      };
      return stand.add(new AbortController().signal, { suspect });
    };
    return { suspicions, add };
  };

  test('after a self-inflicted loss of the process that it was alone in, and not as one of several', async () => {
    const stand = createStand({ maxBatchSize: 2, ready: false });
    const { suspicions, add } = suspected(stand);
    const [worker] = stand.workers;
    assert.ok(worker);
    for (let image = 0; image < 2; image++) add();
    worker.recover();
    assert.deepEqual(worker.pending, [[0, 1]]);
    for (const expected of [[], [0], [0, 1]]) {
      worker.lose({ selfInflicted: true });
      await settled();
      assert.deepEqual(suspicions, expected);
      // After the batch image 0, alone, and then image 1.
      worker.recover();
    }
  });

  test('not when its process was killed from outside, nor when it failed without a loss', async () => {
    const stand = createStand({ maxBatchSize: 1 });
    const { suspicions, add } = suspected(stand);
    const [worker] = stand.workers;
    assert.ok(worker);
    add();
    await crash(worker);
    worker.fail(new Error('no memory'));
    await settled();
    assert.deepEqual(suspicions, []);
  });

  test('and rejected with the verdict instead of retried', async () => {
    const stand = createStand({ maxBatchSize: 1 });
    const verdict = new Error('guilty');
    const { add } = suspected(stand, verdict);
    const [worker] = stand.workers;
    const image = add();
    worker?.lose({ selfInflicted: true });
    await settled();
    assert.deepEqual(image.state, { kind: 'rejected', error: verdict });
    assert.equal(stand.retries.count, 0);
    assert.equal(stand.dispatcher.queueLength, 0);
  });
});

describe('a failed execution', () => {
  test('rejects its images with its error and is not retried', async () => {
    const { worker, outcomes, retries } = standWith(2);
    worker.recover();
    const error = new Error('out of memory');
    worker.fail(error);
    await settled();
    for (const { state } of outcomes) assert.deepEqual(state, { kind: 'rejected', error });
    assert.equal(worker.sent.length, 1);
    assert.equal(retries.count, 0);
  });
});
