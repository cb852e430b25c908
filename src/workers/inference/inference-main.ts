/**
 * The inference process: loads the model, executes it until it is warm, then executes batches
 * (`batch-runner.ts`).
 */
import { systemClock } from '../../clock.js';
import { type Manifest, pixelBytesOf } from '../../models/manifest.js';
import { type HashedFile, loadUnchanged } from '../../models/weights.js';
import { FIRST_SHARED_FD, runChild } from '../process/child-main.js';
import { INFERENCE_OOM_SCORE } from '../process/oom-score.js';
import { type SlotLayout, SlotView } from '../slots.js';
import { createBatchRunner } from './batch-runner.js';
import { type BatchSizeSettings, chooseBatchSizes } from './batch-sizes.js';
import { loadOnnxSession } from './onnx-session.js';
import type { Session } from './session.js';
import { type Cost, createSimulatedSession } from './simulated-session.js';
import { warmUp } from './warm-up.js';

export interface InferenceSettings extends BatchSizeSettings {
  /** Name and version, for errors. */
  readonly model: string;
  readonly graphPath: string;
  /** The expected hashes of the files that are loaded. */
  readonly weights: readonly HashedFile[];
  readonly manifest: Manifest;
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
    const slots = new SlotView(FIRST_SHARED_FD, settings.slots);
    const hello: InferenceHello = { executionProvider, fallbackReason, embeddingSize, warmUpCosts };
    // Graphs are loaded and have run: on the CPU nothing is opened any more. CUDA may open files at
    // any time.
    const limits = { noNewDescriptors: executionProvider !== 'cuda', memoryBytes: null };
    return {
      hello: async () => hello,
      limits,
      answer: createBatchRunner(session, pixels, sizes, slots),
    };
  },
});

async function openSession(
  settings: InferenceSettings,
): Promise<{ session: Session; fallbackReason: string | null }> {
  const { executionProvider, manifest, model, weights } = settings;
  if (executionProvider.kind !== 'simulated') {
    const provider = executionProvider.kind;
    return await loadUnchanged(model, weights, () => loadOnnxSession({ ...settings, provider }));
  }
  const session = createSimulatedSession(
    executionProvider.costs,
    pixelBytesOf(manifest),
    manifest.labels.length,
  );
  return { session, fallbackReason: null };
}
