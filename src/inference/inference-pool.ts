/**
 * The inference processes of one model.
 *
 * The first one is started alone, because what it finds (does CUDA work here?) decides how many there are. From then on
 * the provider is settled: a process that is replaced later gets the same one or none, never a quieter second choice.
 */

import { mayBatch } from '../model/manifest.js';
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
  /** All models together; each gets an equal share, and one at least. */
  readonly inferenceProcesses: number | 'auto';
  readonly inferenceThreads: number | 'auto';
  readonly maxBatchSize: number | 'auto';
  readonly simulatedInference: readonly Cost[] | null;
  readonly startTimeoutMs: number;
  readonly inferenceTimeoutMs: number;
}

/** What the pools of all models share. */
export interface SharedProcesses {
  /** Aborted: processes that are being started are ended. */
  readonly signal: AbortSignal;
  /** How many models there are. */
  readonly models: number;
  /** A number for a new process that no other one has. */
  takeIndex(): number;
  returnIndex(index: number): void;
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

  readonly #onStopped: () => void;
  #stopping: Promise<void> | undefined;

  private constructor(
    lanes: readonly InferenceLane[],
    hello: InferenceHello,
    maxBatchSize: number,
    onStopped: () => void,
  ) {
    this.lanes = lanes;
    this.#onStopped = onStopped;
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
    shared: SharedProcesses,
  ): Promise<InferencePool> {
    let provider = settings.executionProvider;
    const maxBatchSizeOn = (found: string) => (mayBatch(model.manifest, found) ? chooseBatchSize(settings, found) : 1);
    const indices: number[] = [];
    const lanes: InferenceLane[] = [];
    const newLane = (): InferenceLane => {
      const index = shared.takeIndex();
      indices.push(index);
      const lane: InferenceLane = new Lane(
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
      lanes.push(lane);
      return lane;
    };
    const stopAll = async () => {
      await Promise.all(lanes.map((lane) => lane.stop()));
    };
    const giveBack = () => {
      for (const index of indices) shared.returnIndex(index);
    };
    const { signal } = shared;
    const onAbort = () => void stopAll();
    signal.addEventListener('abort', onAbort);
    try {
      signal.throwIfAborted();
      const first = newLane();
      await first.start();
      signal.throwIfAborted();
      const hello = first.hello as InferenceHello;
      if (hello.executionProvider === 'cpu' || hello.executionProvider === 'cuda') provider = hello.executionProvider;

      const share = Math.floor(chooseCount(settings, hello.executionProvider) / shared.models);
      const others = Array.from({ length: Math.max(1, share) - 1 }, newLane);
      const started = await Promise.allSettled(others.map((lane) => lane.start()));
      const failure = started.find((result) => result.status === 'rejected');
      if (failure !== undefined) throw failure.reason;
      signal.throwIfAborted();
      return new InferencePool(lanes, hello, maxBatchSizeOn(hello.executionProvider), giveBack);
    } catch (error) {
      await stopAll();
      giveBack();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Waits for nothing: batches in flight are lost. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= Promise.all(this.lanes.map((lane) => lane.stop())).then(() => this.#onStopped());
    return this.#stopping;
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
