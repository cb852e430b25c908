/**
 * The inference process: reads the pixels of a batch from their slots, executes the graph once,
 * answers.
 *
 * Just before the execution it checks each image's slot, so an image whose cancellation or expiry
 * had reached the front by then is not executed. Batches are padded if the provider needs fixed
 * sizes; the padding is what the previous batch left, and its answers are discarded.
 */
import { systemClock } from '../../clock.js';
import { type Manifest, pixelBytesOf } from '../../models/manifest.js';
import { type HashedFile, loadUnchanged } from '../../models/weights.js';
import { FIRST_SHARED_FD, runChild } from '../process/child-main.js';
import { INFERENCE_OOM_SCORE } from '../process/oom-score.js';
import { type SlotLayout, SlotView } from '../slots.js';
import {
  type BatchSizeSettings,
  type BatchSizes,
  chooseBatchSizes,
  paddedSize,
} from './batch-sizes.js';
import {
  decodeCall,
  encodeReply,
  type InferenceRequest,
  type InferenceResult,
} from './messages.js';
import { loadOnnxSession, type ProviderChoice } from './onnx-session.js';
import type { Session } from './session.js';
import { type Cost, createSimulatedSession } from './simulated-session.js';
import { topK } from './top-k.js';
import { warmUp } from './warm-up.js';

export interface InferenceSettings extends BatchSizeSettings {
  /** Name and version, for errors. */
  readonly model: string;
  readonly graphPath: string;
  /** The expected hashes of the files that are loaded. */
  readonly weights: readonly HashedFile[];
  readonly manifest: Manifest;
  readonly provider: ProviderChoice;
  readonly threads: number;
  readonly slots: SlotLayout;
}

/** The process's first message, when it is ready. */
export interface InferenceHello {
  readonly executionProvider: string;
  readonly fallbackReason: string | null;
  readonly embeddingSize: number;
  /** The costs of batches in its warm-up. */
  readonly warmUpCosts: readonly Cost[];
}

await runChild<InferenceSettings>({
  oomScoreAdded: INFERENCE_OOM_SCORE,
  async start(settings) {
    const { session, fallbackReason } = await openSession(settings);
    const { executionProvider, embeddingSize } = session;
    const sizes = chooseBatchSizes(settings, settings.manifest, executionProvider);
    const pixels = new Uint8Array(sizes.largest * pixelBytesOf(settings.manifest));
    const warmUpCosts = await warmUp(session, pixels, sizes, systemClock);
    const hello: InferenceHello = { executionProvider, fallbackReason, embeddingSize, warmUpCosts };
    // Graphs are loaded and have run: on the CPU nothing is opened any more. CUDA may open files at
    // any time.
    const limits = { noNewDescriptors: executionProvider !== 'cuda', memoryBytes: null };
    return { hello, limits, answer: createBatchRunner(session, pixels, sizes, settings) };
  },
});

async function openSession(
  settings: InferenceSettings,
): Promise<{ session: Session; fallbackReason: string | null }> {
  const { simulatedInference, manifest, model, weights } = settings;
  if (simulatedInference === null)
    return await loadUnchanged(model, weights, () => loadOnnxSession(settings));
  const session = createSimulatedSession(
    simulatedInference,
    pixelBytesOf(manifest),
    manifest.labels.length,
  );
  return { session, fallbackReason: null };
}

function createBatchRunner(
  session: Session,
  pixels: Uint8Array,
  sizes: BatchSizes,
  settings: InferenceSettings,
): (call: Buffer) => Promise<Uint8Array> {
  const pixelBytes = pixelBytesOf(settings.manifest);
  const slots = new SlotView(FIRST_SHARED_FD, settings.slots);
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
): Promise<InferenceResult[]> {
  const { classCount, embeddingSize } = session;
  const startedAt = systemClock.now();
  const { scores, embeddings } = await session.run(pixels, size);
  const executionMs = systemClock.now() - startedAt;
  return images.map(({ topK: k, wantsEmbedding }, row) => ({
    kind: 'executed',
    predictions: topK(scores.subarray(row * classCount, (row + 1) * classCount), k),
    embedding:
      wantsEmbedding && embeddings !== null
        ? Array.from(embeddings.subarray(row * embeddingSize, (row + 1) * embeddingSize))
        : [],
    executionMs,
    batchSize: images.length,
  }));
}
