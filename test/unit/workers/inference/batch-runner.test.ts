/** A batch in an inference process: who is executed, in which size, and who gets which answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBatchRunner } from '#vitserve/workers/inference/batch-runner.js';
import { decodeReply, encodeCall } from '#vitserve/workers/inference/messages.js';

const PIXEL_BYTES = 3;
const CLASSES = 4;

/**
 * Slot n holds three bytes of n; the session answers with the class that the first byte names.
 */
function stand(fixed: readonly number[] | null) {
  const closed = new Set<number>();
  const sizes: number[] = [];
  const pixels = new Uint8Array(8 * PIXEL_BYTES);
  const session = {
    executionProvider: 'cpu',
    classCount: CLASSES,
    embeddingSize: 1,
    run: async (bytes: Uint8Array, images: number) => {
      sizes.push(images);
      const first = Array.from({ length: images }, (_, at) => bytes[at * PIXEL_BYTES] ?? 0);
      const scores = first.flatMap((value) =>
        Array.from({ length: CLASSES }, (_, index) => (index === value ? 1 : 0)),
      );
      return { scores: Float32Array.from(scores), embeddings: Float32Array.from(first) };
    },
  };
  const slots = {
    isWanted: (slot: number) => !closed.has(slot),
    readPixels: (slot: number, target: Uint8Array, offset: number, length: number) => {
      target.fill(slot, offset, offset + length);
    },
  };
  const run = createBatchRunner(session, pixels, { largest: 8, fixed }, slots);
  const answers = async (...of: readonly number[]) => {
    const images = of.map((slot) => ({ slot, topK: 1, wantsEmbedding: true }));
    const reply = decodeReply(Buffer.from(await run(encodeCall(images))), images.length);
    return reply.map((result) =>
      result.kind === 'done'
        ? [
            result.output.predictions[0]?.classIndex,
            ...result.output.embedding,
            result.output.batchSize,
          ]
        : result.kind,
    );
  };
  return { answers, closed, sizes };
}

test('every image gets its own answer, and how many were executed with it', async () => {
  const { answers, sizes } = stand(null);
  assert.deepEqual(await answers(2, 0, 3), [
    [2, 2, 3],
    [0, 0, 3],
    [3, 3, 3],
  ]);
  assert.deepEqual(sizes, [3]);
});

test('a batch is padded to the next fixed size, and the padding gets no answer', async () => {
  const { answers, sizes } = stand([2, 4, 8]);
  assert.deepEqual(await answers(3, 2, 1, 0), [
    [3, 3, 4],
    [2, 2, 4],
    [1, 1, 4],
    [0, 0, 4],
  ]);
  assert.deepEqual(await answers(1, 3, 2), [
    [1, 1, 3],
    [3, 3, 3],
    [2, 2, 3],
  ]);
  assert.deepEqual(sizes, [4, 4]);
});

test('an image whose call has ended is skipped, and a batch of none is not executed', async () => {
  const { answers, closed, sizes } = stand(null);
  closed.add(1);
  assert.deepEqual(await answers(1, 2), ['skipped', [2, 2, 1]]);
  assert.deepEqual(await answers(1), ['skipped']);
  assert.deepEqual(sizes, [1]);
});
