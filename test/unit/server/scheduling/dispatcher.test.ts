/** Who is executed when, and with whom. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { type FakeLane, settled } from '../../../support/fake-lane.js';
import { answer, createStand, type Stand } from './stand.js';

function only({ lanes }: Stand): Stand['lanes'][number] {
  const [lane] = lanes;
  assert.ok(lane);
  return lane;
}

const batches = (lane: FakeLane<readonly number[], readonly string[]>) =>
  lane.sent.map((images) => [...images]);

describe('batches', () => {
  test('a lone image goes at once', async () => {
    const stand = createStand({ maxBatchSize: 8 });
    const image = stand.add();
    assert.deepEqual(batches(only(stand)), [[0]]);
    answer(only(stand));
    await settled();
    assert.deepEqual(image.state, { kind: 'resolved', value: '0!' });
  });

  test('while the process is busy images gather, and leave together when it is free', () => {
    const stand = createStand({ maxBatchSize: 8 });
    for (let image = 0; image < 5; image++) stand.add();
    assert.deepEqual(batches(only(stand)), [[0]]);
    answer(only(stand));
    assert.deepEqual(batches(only(stand)), [[0], [1, 2, 3, 4]]);
  });

  test('a busy process is given a full batch in advance, and only one', () => {
    const stand = createStand({ maxBatchSize: 3 });
    const lane = only(stand);
    for (let image = 0; image < 3; image++) stand.add();
    assert.deepEqual(lane.pending, [[0]], 'two waiting images are no full batch');
    stand.add();
    assert.deepEqual(lane.pending, [[0], [1, 2, 3]]);
    for (let image = 4; image < 10; image++) stand.add();
    assert.deepEqual(lane.pending, [[0], [1, 2, 3]]);
    assert.equal(stand.dispatcher.queueLength, 6);
    answer(lane);
    assert.deepEqual(lane.pending, [
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });

  test('where batches have one image, the next image is the one in advance', () => {
    const stand = createStand({ maxBatchSize: 1 });
    for (let image = 0; image < 4; image++) stand.add();
    assert.deepEqual(only(stand).pending, [[0], [1]]);
  });

  test('where no process is given any in advance, the next image waits for one that is free', () => {
    const stand = createStand({ maxBatchSize: 1, maxInFlight: 1, lanes: 2 });
    for (let image = 0; image < 4; image++) stand.add();
    const [first, second] = stand.lanes;
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
    const stand = createStand({ lanes: 2, maxBatchSize: 1 });
    const [first, second] = stand.lanes;
    for (let image = 0; image < 3; image++) stand.add();
    assert.deepEqual([first?.pending, second?.pending], [[[0], [2]], [[1]]]);
  });

  test('waiting images are shared out evenly between the processes that are free', () => {
    const stand = createStand({ lanes: 3, maxBatchSize: 8, ready: false });
    for (let image = 0; image < 7; image++) stand.add();
    assert.equal(stand.dispatcher.queueLength, 7);
    for (const lane of stand.lanes.slice(1)) lane.recover({ tell: false });
    stand.lanes[0]?.recover();
    assert.deepEqual(stand.lanes.map(batches), [[[0, 1, 2]], [[3, 4]], [[5, 6]]]);
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

  test('images leave in the order in which they came', () => {
    const stand = createStand({ lanes: 2, maxBatchSize: 2 });
    for (let image = 0; image < 20; image++) stand.add();
    for (let turn = 0; stand.lanes.some(({ inFlight }) => inFlight > 0); turn++) {
      const lane = stand.lanes[turn % 2];
      if (lane && lane.inFlight > 0) answer(lane);
    }
    assert.deepEqual(
      stand.formed.flat(),
      Array.from({ length: 20 }, (_, image) => image),
    );
  });

  test('a process that is not ready is given nothing, and what waits when it becomes so', () => {
    const stand = createStand({ maxBatchSize: 2, ready: false });
    stand.add();
    assert.deepEqual(only(stand).sent, []);
    only(stand).recover();
    assert.deepEqual(batches(only(stand)), [[0]]);
  });

  test('every change of the queue is told', () => {
    const stand = createStand({ maxBatchSize: 4 });
    const leaving = new AbortController();
    stand.add();
    stand.add();
    stand.add(leaving.signal);
    leaving.abort(new Error('gone'));
    answer(only(stand));
    assert.deepEqual(stand.lengths, [0, 1, 2, 1, 0]);
  });

  test('each image gets the result at its own place', async () => {
    const stand = createStand({ maxBatchSize: 3, ready: false });
    const images = [stand.add(), stand.add(), stand.add()];
    only(stand).recover();
    only(stand).answer(['a', 'b', 'c']);
    await settled();
    assert.deepEqual(
      images.map(({ state }) => state),
      ['a', 'b', 'c'].map((value) => ({ kind: 'resolved', value })),
    );
  });
});

describe('leaving', () => {
  test('an image that leaves the queue is taken out at once and rejected with the reason of its signal', async () => {
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

  test('an image that was given to a process leaves nothing on its signal, which others may share', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const { signal } = new AbortController();
    for (let image = 0; image < 3; image++) stand.add(signal);
    assert.equal(getEventListeners(signal, 'abort').length, 2, 'two images wait');
    answer(only(stand));
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    await settled();
  });

  test('an image that had left before it came is rejected and never queued', async () => {
    const stand = createStand({ maxBatchSize: 4 });
    const reason = new Error('too late');
    const image = stand.add(AbortSignal.abort(reason));
    await settled();
    assert.deepEqual(image.state, { kind: 'rejected', error: reason });
    assert.deepEqual(only(stand).sent, []);
  });

  test('an image that leaves during its execution still gets its result, for it has cost what it costs', async () => {
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
