/**
 * Executes batches in an inference process.
 *
 * Just before the execution each image's slot is asked whether its call is still open, so an image
 * whose cancellation or expiry had reached the front by then is not executed. Batches are padded
 * where the provider wants fixed sizes; the padding is what the batch before has left in the
 * buffer, and its answers are dropped.
 */
import { systemClock } from '../../clock.js';
import type { SlotView } from '../slots.js';
import type { WorkResult } from '../worker.js';
import { type BatchSizes, paddedSize } from './batch-sizes.js';
import {
  decodeCall,
  encodeReply,
  type InferenceOutput,
  type InferenceRequest,
} from './messages.js';
import type { Session } from './session.js';
import { topK } from './top-k.js';

const NO_EMBEDDING = new Float32Array(0);

/** `pixels` has room for the largest batch. */
export function createBatchRunner(
  session: Session,
  pixels: Uint8Array,
  sizes: BatchSizes,
  slots: Pick<SlotView, 'isWanted' | 'readPixels'>,
): (call: Buffer) => Promise<Uint8Array> {
  const pixelBytes = pixels.length / sizes.largest;
  return async (call) => {
    const images = decodeCall(call);
    const now = systemClock.now();
    const wanted = images.filter(({ slot }) => slots.isWanted(slot, now));
    wanted.forEach(({ slot }, index) => {
      slots.readPixels(slot, pixels, index * pixelBytes, pixelBytes);
    });
    const results =
      wanted.length === 0
        ? []
        : await execute(session, pixels, wanted, paddedSize(wanted.length, sizes));
    const bySlot = new Map(wanted.map(({ slot }, index) => [slot, results[index]]));
    return encodeReply(images.map(({ slot }) => bySlot.get(slot) ?? { kind: 'skipped' }));
  };
}

/** Runs `images` as one batch, filled up to `size`. */
async function execute(
  session: Session,
  pixels: Uint8Array,
  images: readonly InferenceRequest[],
  size: number,
): Promise<WorkResult<InferenceOutput>[]> {
  const { classCount, embeddingSize } = session;
  const startedAt = systemClock.now();
  const { scores, embeddings } = await session.run(pixels, size);
  const executionMs = systemClock.now() - startedAt;
  return images.map(({ topK: k, wantsEmbedding }, row) => ({
    kind: 'done',
    output: {
      predictions: topK(scores.subarray(row * classCount, (row + 1) * classCount), k),
      embedding:
        wantsEmbedding && embeddings !== null
          ? embeddings.subarray(row * embeddingSize, (row + 1) * embeddingSize)
          : NO_EMBEDDING,
      executionMs,
      batchSize: images.length,
    },
  }));
}
