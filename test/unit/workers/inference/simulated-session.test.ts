/** The simulated accelerator. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { costOf, createSimulatedSession } from '#vitserve/workers/inference/simulated-session.js';
import { topK } from '#vitserve/workers/inference/top-k.js';
import { noise } from '../decode/drawing.js';

describe('the cost of an execution', () => {
  const TABLE = [
    { batchSize: 1, milliseconds: 10 },
    { batchSize: 4, milliseconds: 16 },
    { batchSize: 8, milliseconds: 20 },
  ];
  const of = (...sizes: number[]) => sizes.map((images) => costOf(TABLE, images));

  test('is what the table says for the sizes that it has', () => {
    assert.deepEqual(of(1, 4, 8), [10, 16, 20]);
  });

  test('lies on a straight line between them', () => {
    assert.deepEqual(of(2, 3, 6, 7), [12, 14, 18, 19]);
  });

  test('goes on along the last line beyond them', () => {
    assert.deepEqual(of(9, 12), [21, 24]);
  });

  test('of fewer images than the first row is the first row’s', () => {
    assert.equal(costOf(TABLE.slice(1), 2), 16);
  });

  test('is the same for every size if the table has one row', () => {
    const table = [{ batchSize: 4, milliseconds: 7 }];
    assert.deepEqual(
      [1, 5, 50].map((images) => costOf(table, images)),
      [7, 7, 7],
    );
  });
});

describe('a simulated session', () => {
  const PIXEL_BYTES = 4 * 4 * 3;
  const CLASSES = 10;
  const FREE = [{ batchSize: 1, milliseconds: 0 }];

  test('says that it is simulated, and the shape of its answers', async () => {
    const session = createSimulatedSession(FREE, PIXEL_BYTES, CLASSES);
    assert.deepEqual(
      [session.executionProvider, session.classCount, session.embeddingSize],
      ['simulated', 10, 3],
    );
    const { scores, embeddings } = await session.run(noise(2 * PIXEL_BYTES), 2);
    assert.deepEqual([scores.length, embeddings?.length], [2 * CLASSES, 2 * 3]);
  });

  test('finds the class that the sum of the bytes says, with score ½', async () => {
    const pixels = noise(3 * PIXEL_BYTES);
    const { scores } = await createSimulatedSession(FREE, PIXEL_BYTES, CLASSES).run(pixels, 3);
    for (let image = 0; image < 3; image++) {
      const sum = pixels
        .subarray(image * PIXEL_BYTES, (image + 1) * PIXEL_BYTES)
        .reduce((a, b) => a + b, 0);
      const row = scores.subarray(image * CLASSES, (image + 1) * CLASSES);
      assert.deepEqual(topK(row, 1), [{ classIndex: sum % CLASSES, score: 0.5 }]);
      assert.ok(Math.abs(row.reduce((a, b) => a + b, 0) - 1) < 1e-6);
    }
  });

  test('gives an image the same answer in any batch', async () => {
    const session = createSimulatedSession(FREE, PIXEL_BYTES, CLASSES);
    const pixels = noise(3 * PIXEL_BYTES);
    const together = await session.run(pixels, 3);
    for (let image = 0; image < 3; image++) {
      const alone = await session.run(pixels.subarray(image * PIXEL_BYTES), 1);
      assert.deepEqual(
        alone.scores,
        together.scores.subarray(image * CLASSES, (image + 1) * CLASSES),
      );
      assert.deepEqual(alone.embeddings, together.embeddings?.subarray(image * 3, (image + 1) * 3));
    }
  });

  test('has the mean of each channel as its embedding', async () => {
    const pixels = Uint8Array.from({ length: PIXEL_BYTES }, (_, at) => [10, 20, 30][at % 3] ?? 0);
    const { embeddings } = await createSimulatedSession(FREE, PIXEL_BYTES, CLASSES).run(pixels, 1);
    assert.deepEqual([...(embeddings ?? [])], [10, 20, 30]);
  });

  test('with one class is certain', async () => {
    const { scores } = await createSimulatedSession(FREE, PIXEL_BYTES, 1).run(
      noise(PIXEL_BYTES),
      1,
    );
    assert.deepEqual([...scores], [1]);
  });

  test('waits for the rest of the time that its table says', async (context) => {
    const wait = context.mock.method(Atomics, 'wait', () => 'timed-out');
    const session = createSimulatedSession(
      [{ batchSize: 1, milliseconds: 60_000 }],
      PIXEL_BYTES,
      CLASSES,
    );
    await session.run(noise(PIXEL_BYTES), 1);
    assert.equal(wait.mock.callCount(), 1);
    const waitedMs = Number(wait.mock.calls[0]?.arguments[3]);
    assert.ok(waitedMs > 0 && waitedMs <= 60_000);
  });
});
