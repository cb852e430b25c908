/**
 * The inference processes of one model.
 *
 * The first one starts alone, because what it finds (does CUDA work here?) decides their number.
 * That also fixes the provider: a process that restarts later gets the same one or fails, and never
 * falls back silently.
 */
import type { Model } from '../../models/repository.js';
import { availableCores } from '../../system/cores.js';
import { ProcessWorker } from '../process/process-worker.js';
import type { ReportChild } from '../process/supervised-child.js';
import type { SlotFile } from '../slots.js';
import type { Worker } from '../worker.js';
import { type BatchSizeSettings, type BatchSizes, chooseBatchSizes } from './batch-sizes.js';
import type { InferenceHello, InferenceSettings } from './inference-main.js';
import {
  decodeReply,
  encodeCall,
  type InferenceOutput,
  type InferenceRequest,
} from './messages.js';
import type { Cost } from './simulated-session.js';
import { type SlowForm, slowForm } from './slow-form.js';

export interface InferencePoolSettings extends BatchSizeSettings {
  /** For all models together; each gets an equal share, and at least one. */
  readonly inferenceProcesses: number | 'auto';
  readonly inferenceThreads: number | 'auto';
  readonly startTimeoutMs: number;
  readonly inferenceTimeoutMs: number;
}

/** What the pools of all models share. */
export interface SharedProcesses {
  /** Aborted: processes that are starting are stopped. */
  readonly signal: AbortSignal;
  /** The number of models. */
  readonly models: number;
  /** A number for a new process, unique among all. */
  takeIndex(): number;
  returnIndex(index: number): void;
}

/**
 * Processes on the CPU have a lower priority than the front, so that health checks and rejections
 * stay quick when every core is busy.
 */
const CPU_NICENESS = 5;

export class InferencePool {
  readonly workers: readonly Worker<InferenceRequest, InferenceOutput>[];
  /** The provider in use: `cpu`, `cuda` or `simulated`. */
  readonly executionProvider: string;
  /** Why `auto` did not get CUDA, or null. */
  readonly fallbackReason: string | null;
  /** Why the form of the model is slow on this machine; null: it is not slow. */
  readonly slowForm: SlowForm | null;
  readonly maxBatchSize: number;
  /** The sizes that batches are padded to, ascending; null: batches are not padded. */
  readonly fixedBatchSizes: readonly number[] | null;
  readonly embeddingSize: number;
  /** What batches cost in the warm-up of the first process. */
  readonly warmUpCosts: readonly Cost[];

  readonly #stop: () => Promise<void>;
  #stopping: Promise<void> | undefined;

  private constructor(
    workers: InferencePool['workers'],
    manifest: Model['manifest'],
    hello: InferenceHello,
    { largest, fixed }: BatchSizes,
    stop: () => Promise<void>,
  ) {
    this.workers = workers;
    this.#stop = stop;
    this.executionProvider = hello.executionProvider;
    this.fallbackReason = hello.fallbackReason;
    this.slowForm = slowForm(manifest, hello.executionProvider);
    this.embeddingSize = hello.embeddingSize;
    this.warmUpCosts = hello.warmUpCosts;
    this.maxBatchSize = largest;
    this.fixedBatchSizes = fixed;
  }

  /**
   * Rejects with SetupError where the model cannot be loaded or the requested provider is missing.
   */
  static async create(
    model: Model,
    slots: SlotFile,
    settings: InferencePoolSettings,
    report: ReportChild,
    shared: SharedProcesses,
  ): Promise<InferencePool> {
    let provider = settings.executionProvider;
    const indices: number[] = [];
    const workers: ProcessWorker<InferenceRequest, InferenceOutput>[] = [];
    const newWorker = () => {
      const index = shared.takeIndex();
      indices.push(index);
      const worker = new ProcessWorker<InferenceRequest, InferenceOutput>(
        {
          role: 'inference',
          index,
          entry: new URL('./inference-main.js', import.meta.url),
          niceness: provider.kind === 'cuda' ? 0 : CPU_NICENESS,
          sharedFds: [slots.fd],
          // CUDA finds its libraries through the environment.
          environment: undefined,
          startTimeoutMs: settings.startTimeoutMs,
          report,
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
        { encode: encodeCall, decode: (bytes, images) => decodeReply(bytes, images.length) },
        { wallMs: settings.inferenceTimeoutMs },
      );
      workers.push(worker);
      return worker;
    };
    const stopAll = async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
    };
    const stopForGood = async () => {
      await stopAll();
      for (const index of indices) shared.returnIndex(index);
    };
    const { signal } = shared;
    const onAbort = () => void stopAll();
    signal.addEventListener('abort', onAbort);
    try {
      signal.throwIfAborted();
      const first = newWorker();
      await first.start();
      signal.throwIfAborted();
      const hello = first.hello as InferenceHello;
      if (hello.executionProvider === 'cpu' || hello.executionProvider === 'cuda')
        provider = { kind: hello.executionProvider };

      const share = Math.floor(chooseCount(settings, hello.executionProvider) / shared.models);
      const others = Array.from({ length: Math.max(1, share) - 1 }, newWorker);
      const started = await Promise.allSettled(others.map((worker) => worker.start()));
      const failure = started.find((result) => result.status === 'rejected');
      if (failure !== undefined) throw failure.reason;
      signal.throwIfAborted();
      const sizes = chooseBatchSizes(settings, model.manifest, hello.executionProvider);
      return new InferencePool(workers, model.manifest, hello, sizes, stopForGood);
    } catch (error) {
      await stopForGood();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Does not wait for batches in flight. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }
}

function chooseCount({ inferenceProcesses }: InferencePoolSettings, provider: string): number {
  if (inferenceProcesses !== 'auto') return inferenceProcesses;
  return provider === 'cpu' ? availableCores() : 1;
}
