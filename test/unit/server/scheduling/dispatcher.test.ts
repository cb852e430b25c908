/** When images are executed, and in which batch. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { settled } from '../../../support/fake-worker.js';
import { answer, createStand, type NumberWorker, type Stand } from './stand.js';

function only({ workers }: Stand): Stand['workers'][number] {
  const [worker] = workers;
  assert.ok(worker);
  return worker;
}

const batches = (worker: NumberWorker) => worker.sent.map((images) => [...images]);

describe('batches', () => {
  test('a lone image goes at once', async () => {
    const stand = createStand({ maxBatchSize: 8 });
    const image = stand.add();
    assert.deepEqual(batches(only(stand)), [[0]]);
    answer(only(stand));
    await settled();
    assert.deepEqual(image.state, { kind: 'resolved', value: '0!' });
  });

  test('images gather while the process is busy, and leave together when it is free', () => {
    const stand = createStand({ maxBatchSize: 8 });
    for (let image = 0; image < 5; image++) stand.add();
    assert.deepEqual(batches(only(stand)), [[0]]);
    answer(only(stand));
    assert.deepEqual(batches(only(stand)), [[0], [1, 2, 3, 4]]);
  });

  test('a busy process gets one full batch in advance, and no more', () => {
    const stand = createStand({ maxBatchSize: 3 });
    const worker = only(stand);
    for (let image = 0; image < 3; image++) stand.add();
    assert.deepEqual(worker.pending, [[0]], 'two waiting images are no full batch');
    stand.add();
    assert.deepEqual(worker.pending, [[0], [1, 2, 3]]);
    for (let image = 4; image < 10; image++) stand.add();
    assert.deepEqual(worker.pending, [[0], [1, 2, 3]]);
    assert.equal(stand.dispatcher.queueLength, 6);
    answer(worker);
    assert.deepEqual(worker.pending, [
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });

  test('with batches of one image, the next image goes in advance', () => {
    const stand = createStand({ maxBatchSize: 1 });
    for (let image = 0; image < 4; image++) stand.add();
    assert.deepEqual(only(stand).pending, [[0], [1]]);
  });

  test('without batches in advance, the next image waits for a free process', () => {
    const stand = createStand({ maxBatchSize: 1, maxInFlight: 1, workers: 2 });
    for (let image = 0; image < 4; image++) stand.add();
    const [first, second] = stand.workers;
    assert.deepEqual([first?.pending, second?.pending], [[[0]], [[1]]]);
    answer(second as NonNullable<typeof second>);
    answer(second as NonNullable<typeof second>);
    assert.deepEqual(
      [first?.pending, second?.pending],
      [[[0]], [[3]]],
      'whatever the first one takes',
    );
  });

  test('a free process comes before a busy one', () => {
    const stand = createStand({ workers: 2, maxBatchSize: 1 });
    const [first, second] = stand.workers;
    for (let image = 0; image < 3; image++) stand.add();
    assert.deepEqual([first?.pending, second?.pending], [[[0], [2]], [[1]]]);
  });

  test('free processes share the waiting images evenly', () => {
    const stand = createStand({ workers: 3, maxBatchSize: 8, ready: false });
    for (let image = 0; image < 7; image++) stand.add();
    assert.equal(stand.dispatcher.queueLength, 7);
    for (const worker of stand.workers.slice(1)) worker.recover({ tell: false });
    stand.workers[0]?.recover();
    assert.deepEqual(stand.workers.map(batches), [[[0, 1, 2]], [[3, 4]], [[5, 6]]]);
  });

  test('no batch is larger than the largest, however many wait', () => {
    const stand = createStand({ maxBatchSize: 4, ready: false });
    for (let image = 0; image < 11; image++) stand.add();
    only(stand).recover();
    assert.deepEqual(only(stand).pending, [
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
  });

  test('images leave in order of arrival', () => {
    const stand = createStand({ workers: 2, maxBatchSize: 2 });
    for (let image = 0; image < 20; image++) stand.add();
    for (let turn = 0; stand.workers.some(({ inFlight }) => inFlight > 0); turn++) {
      const worker = stand.workers[turn % 2];
      if (worker && worker.inFlight > 0) answer(worker);
    }
    assert.deepEqual(
      stand.formed.flat(),
      Array.from({ length: 20 }, (_, image) => image),
    );
  });

  test('a process gets nothing until it is ready, and then what waits', () => {
    const stand = createStand({ maxBatchSize: 2, ready: false });
    stand.add();
    assert.deepEqual(only(stand).sent, []);
    only(stand).recover();
    assert.deepEqual(batches(only(stand)), [[0]]);
  });

  test('an execution is reported once, with one of its outputs', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    for (let image = 0; image < 3; image++) stand.add();
    answer(only(stand));
    answer(only(stand));
    await settled();
    assert.deepEqual(stand.events, ['executed 0!', 'executed 1!']);
  });

  test('each image gets the result at its own place', async () => {
    const stand = createStand({ maxBatchSize: 3, ready: false });
    const images = [stand.add(), stand.add(), stand.add()];
    only(stand).recover();
    only(stand).answer('a', 'b', 'c');
    await settled();
    assert.deepEqual(
      images.map(({ state }) => state),
      ['a', 'b', 'c'].map((value) => ({ kind: 'resolved', value })),
    );
  });
});

describe('cancellation', () => {
  test('a cancelled image leaves the queue at once and is rejected with the reason of its signal', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const leaving = new AbortController();
    const reason = new Error('the caller has left');
    stand.add();
    const waiting = stand.add(leaving.signal);
    const other = stand.add();
    leaving.abort(reason);
    assert.equal(stand.dispatcher.queueLength, 1);
    await settled();
    assert.deepEqual(waiting.state, { kind: 'rejected', error: reason });
    assert.deepEqual(other.state, { kind: 'open' });
    answer(only(stand));
    assert.deepEqual(batches(only(stand)), [[0], [2]]);
  });

  test('an image that a process has leaves no listener on its signal, which others may share', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const { signal } = new AbortController();
    for (let image = 0; image < 3; image++) stand.add(signal);
    assert.equal(getEventListeners(signal, 'abort').length, 2, 'two images wait');
    answer(only(stand));
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    await settled();
  });

  test('an image cancelled before its arrival is rejected and never queued', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const reason = new Error('too late');
    const image = stand.add(AbortSignal.abort(reason));
    await settled();
    assert.deepEqual(image.state, { kind: 'rejected', error: reason });
    assert.deepEqual(only(stand).sent, []);
  });

  test('an image cancelled during its execution still gets its result', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const leaving = new AbortController();
    const image = stand.add(leaving.signal);
    leaving.abort(new Error('gone'));
    await settled();
    assert.deepEqual(image.state, { kind: 'open' });
    answer(only(stand));
    await settled();
    assert.deepEqual(image.state, { kind: 'resolved', value: '0!' });
  });
});
