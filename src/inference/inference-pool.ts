/**
 * The inference processes of one model.
 *
 * The first one is started alone, because what it finds (does CUDA work here?) decides how many there are. From then on
 * the provider is settled: a process that is replaced later gets the same one or none, never a quieter second choice.
 */

import type { Model } from '../model/repository.js';
import { availableCores } from '../process/cores.js';
import { type CallCodec, Lane } from '../process/lane.js';
import type { ChildObserver } from '../process/supervised-child.js';
import type { SlotFile } from '../slots/slots.js';
import type { InferenceHello, InferenceSettings } from './inference-main.js';
import { decodeReply, encodeCall, type InferenceRequest, type InferenceResult } from './messages.js';
import type { ProviderChoice } from './onnx-session.js';
import type { Cost } from './simulated-session.js';

export interface InferencePoolSettings {
  readonly executionProvider: ProviderChoice;
  readonly inferenceProcesses: number | 'auto';
  readonly inferenceThreads: number | 'auto';
  readonly maxBatchSize: number | 'auto';
  readonly simulatedInference: readonly Cost[] | null;
  readonly startTimeoutMs: number;
  readonly inferenceTimeoutMs: number;
}

export type InferenceLane = Lane<readonly InferenceRequest[], readonly InferenceResult[]>;

/** Measured on two cores: beyond this, larger batches on a CPU cost latency and gain nothing (docs/performance.md). */
const CPU_BATCH_SIZE = 4;
const CUDA_BATCH_SIZE = 32;
/** Children on the CPU give way to the front, so that health checks and refusals stay quick when every core is busy. */
const CPU_NICENESS = 5;

const CODEC: CallCodec<readonly InferenceRequest[], readonly InferenceResult[]> = {
  encode: encodeCall,
  decode: decodeReply,
};

export class InferencePool {
  readonly lanes: readonly InferenceLane[];
  /** `cpu`, `cuda` or `simulated`: what really runs. */
  readonly executionProvider: string;
  /** Why `auto` did not get CUDA, or null. */
  readonly fallbackReason: string | null;
  readonly maxBatchSize: number;
  readonly embeddingSize: number;

  private constructor(lanes: readonly InferenceLane[], hello: InferenceHello, maxBatchSize: number) {
    this.lanes = lanes;
    this.executionProvider = hello.executionProvider;
    this.fallbackReason = hello.fallbackReason;
    this.embeddingSize = hello.embeddingSize;
    this.maxBatchSize = maxBatchSize;
  }

  /** Rejects with SetupError when the model can't be loaded or the provider asked for is not there. */
  static async create(
    model: Model,
    slots: SlotFile,
    settings: InferencePoolSettings,
    observer: ChildObserver,
  ): Promise<InferencePool> {
    let provider = settings.executionProvider;
    const maxBatchSizeOn = (found: string) => (model.manifest.batchInvariant ? chooseBatchSize(settings, found) : 1);
    const newLane = (index: number): InferenceLane =>
      new Lane(
        {
          role: 'inference',
          index,
          entry: new URL('./inference-main.js', import.meta.url),
          niceness: provider === 'cuda' ? 0 : CPU_NICENESS,
          sharedFds: [slots.fd],
          // CUDA and its libraries are found through the environment.
          environment: undefined,
          startTimeoutMs: settings.startTimeoutMs,
          observer,
          settings: (): InferenceSettings => ({
            graphPath: model.graphPath,
            manifest: model.manifest,
            provider,
            threads: settings.inferenceThreads === 'auto' ? 1 : settings.inferenceThreads,
            simulatedCosts: settings.simulatedInference,
            maxBatchSize: Math.max(maxBatchSizeOn('cpu'), maxBatchSizeOn('cuda')),
            slots: slots.layout,
          }),
        },
        CODEC,
        settings.inferenceTimeoutMs,
      );

    const first = newLane(0);
    await first.start();
    const hello = first.hello as InferenceHello;
    if (hello.executionProvider === 'cpu' || hello.executionProvider === 'cuda') provider = hello.executionProvider;

    const count = chooseCount(settings, hello.executionProvider);
    const others = Array.from({ length: count - 1 }, (_, index) => newLane(index + 1));
    const lanes = [first, ...others];
    const started = await Promise.allSettled(others.map((lane) => lane.start()));
    const failure = started.find((result) => result.status === 'rejected');
    if (failure !== undefined) {
      await Promise.all(lanes.map((lane) => lane.stop()));
      throw failure.reason;
    }
    return new InferencePool(lanes, hello, maxBatchSizeOn(hello.executionProvider));
  }

  async stop(): Promise<void> {
    await Promise.all(this.lanes.map((lane) => lane.stop()));
  }
}

function chooseCount({ inferenceProcesses }: InferencePoolSettings, provider: string): number {
  if (inferenceProcesses !== 'auto') return inferenceProcesses;
  return provider === 'cpu' ? availableCores() : 1;
}

function chooseBatchSize({ maxBatchSize, simulatedInference }: InferencePoolSettings, provider: string): number {
  if (maxBatchSize !== 'auto') return maxBatchSize;
  if (simulatedInference !== null) return simulatedInference.at(-1)?.batchSize ?? 1;
  return provider === 'cuda' ? CUDA_BATCH_SIZE : CPU_BATCH_SIZE;
}
