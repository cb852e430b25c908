/**
 * The inference processes of one model.
 *
 * The first one is started alone, because what it finds (does CUDA work here?) decides how many
 * there are. From then on the provider is settled: a process that is replaced later gets the same
 * one or none, never a quieter second choice.
 */

import type { Model } from '../../models/repository.js';
import { availableCores } from '../../system/cores.js';
import { type CallCodec, Lane } from '../process/lane.js';
import type { ChildObserver } from '../process/supervised-child.js';
import type { SlotFile } from '../slots.js';
import { type BatchSizeSettings, type BatchSizes, chooseBatchSizes } from './batch-sizes.js';
import type { InferenceHello, InferenceSettings } from './inference-main.js';
import {
  decodeReply,
  encodeCall,
  type InferenceRequest,
  type InferenceResult,
} from './messages.js';
import type { Cost } from './simulated-session.js';
import { type SlowForm, slowForm } from './slow-form.js';

export interface InferencePoolSettings extends BatchSizeSettings {
  /** All models together; each gets an equal share, and one at least. */
  readonly inferenceProcesses: number | 'auto';
  readonly inferenceThreads: number | 'auto';
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

/**
 * Children on the CPU give way to the front, so that health checks and refusals stay quick when
 * every core is busy.
 */
const CPU_NICENESS = 5;

const CODEC: CallCodec<readonly InferenceRequest[], readonly InferenceResult[]> = {
  encode: encodeCall,
  decode: (bytes, images) => decodeReply(bytes, images.length),
};

export class InferencePool {
  readonly lanes: readonly InferenceLane[];
  /** `cpu`, `cuda` or `simulated`: what really runs. */
  readonly executionProvider: string;
  /** Why `auto` did not get CUDA, or null. */
  readonly fallbackReason: string | null;
  /** Why the model's form is slow where it runs; null where it is not. */
  readonly slowForm: SlowForm | null;
  readonly maxBatchSize: number;
  /** The sizes that batches are padded to, ascending; null: none. */
  readonly fixedBatchSizes: readonly number[] | null;
  readonly embeddingSize: number;
  /** What batches cost in the warm-up of the first process. */
  readonly warmUpCosts: readonly Cost[];

  readonly #onStopped: () => void;
  #stopping: Promise<void> | undefined;

  private constructor(
    lanes: readonly InferenceLane[],
    manifest: Model['manifest'],
    hello: InferenceHello,
    { largest, fixed }: BatchSizes,
    onStopped: () => void,
  ) {
    this.lanes = lanes;
    this.#onStopped = onStopped;
    this.executionProvider = hello.executionProvider;
    this.fallbackReason = hello.fallbackReason;
    this.slowForm = slowForm(manifest, hello.executionProvider);
    this.embeddingSize = hello.embeddingSize;
    this.warmUpCosts = hello.warmUpCosts;
    this.maxBatchSize = largest;
    this.fixedBatchSizes = fixed;
  }

  /**
   * Rejects with SetupError when the model can't be loaded or the provider asked for is not there.
   */
  static async create(
    model: Model,
    slots: SlotFile,
    settings: InferencePoolSettings,
    observer: ChildObserver,
    shared: SharedProcesses,
  ): Promise<InferencePool> {
    let provider = settings.executionProvider;
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
          niceness: provider.kind === 'cuda' ? 0 : CPU_NICENESS,
          sharedFds: [slots.fd],
          // CUDA and its libraries are found through the environment.
          environment: undefined,
          startTimeoutMs: settings.startTimeoutMs,
          observer,
          settings: (): InferenceSettings => ({
            model: `${model.name}/${model.version}`,
            graphPath: model.graphPath,
            weights: model.weights,
            manifest: model.manifest,
            executionProvider: provider,
            threads: settings.inferenceThreads === 'auto' ? 1 : settings.inferenceThreads,
            maxBatchSize: settings.maxBatchSize,
            slots: slots.layout,
          }),
        },
        CODEC,
        { wallMs: settings.inferenceTimeoutMs },
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
      if (hello.executionProvider === 'cpu' || hello.executionProvider === 'cuda')
        provider = { kind: hello.executionProvider };

      const share = Math.floor(chooseCount(settings, hello.executionProvider) / shared.models);
      const others = Array.from({ length: Math.max(1, share) - 1 }, newLane);
      const started = await Promise.allSettled(others.map((lane) => lane.start()));
      const failure = started.find((result) => result.status === 'rejected');
      if (failure !== undefined) throw failure.reason;
      signal.throwIfAborted();
      const sizes = chooseBatchSizes(settings, model.manifest, hello.executionProvider);
      return new InferencePool(lanes, model.manifest, hello, sizes, giveBack);
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
    this.#stopping ??= Promise.all(this.lanes.map((lane) => lane.stop())).then(() =>
      this.#onStopped(),
    );
    return this.#stopping;
  }
}

function chooseCount({ inferenceProcesses }: InferencePoolSettings, provider: string): number {
  if (inferenceProcesses !== 'auto') return inferenceProcesses;
  return provider === 'cpu' ? availableCores() : 1;
}
