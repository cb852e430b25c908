/**
 * The second half of the line, which belongs to one version of one model: its queue, its batches, its inference processes.
 *
 * It counts who uses it, so that a version that has been replaced can be ended when its last image is answered.
 */
import { Dispatcher } from '../batch/dispatcher.js';
import type { BatchLane } from '../batch/lane.js';
import type { InferenceRequest, InferenceResult } from '../inference/messages.js';
import { ProcessLostError } from '../process/lane.js';
import type { ServedModel } from './served-model.js';

/** Told what a model does; `telemetry/` implements it. Times are milliseconds. */
export interface ModelLineObserver {
  executed(model: string, batchSize: number, executionMs: number): void;
  batchRetried(model: string): void;
  batchQueueLength(model: string, length: number): void;
}

export type InferenceBatchLane = BatchLane<readonly InferenceRequest[], readonly InferenceResult[]>;

export class ModelLine {
  readonly model: ServedModel;
  /** What a decoder is told with every image of this model: a PixelPlan as JSON. */
  readonly plan: string;
  readonly #lanes: readonly InferenceBatchLane[];
  readonly #batching: Dispatcher<
    InferenceRequest,
    InferenceResult,
    readonly InferenceRequest[],
    readonly InferenceResult[]
  >;
  #users = 0;
  #onUnused: () => void = () => {};

  constructor(options: {
    readonly model: ServedModel;
    readonly plan: string;
    readonly lanes: readonly InferenceBatchLane[];
    readonly observer: ModelLineObserver;
  }) {
    const { model, plan, lanes, observer } = options;
    this.model = model;
    this.plan = plan;
    this.#lanes = lanes;
    this.#batching = new Dispatcher({
      lanes,
      maxBatchSize: model.maxBatchSize,
      toCall: (images) => images,
      toResults: (results) => {
        const executed = results.find((result) => result.kind === 'executed');
        if (executed !== undefined) observer.executed(model.name, executed.batchSize, executed.executionMs);
        return results;
      },
      isLoss: (error) => error instanceof ProcessLostError,
      observer: {
        queueLength: (length) => observer.batchQueueLength(model.name, length),
        retried: () => observer.batchRetried(model.name),
      },
    });
  }

  /** Inference processes, ready or not. */
  get processes(): number {
    return this.#lanes.length;
  }

  /** Whether a process takes batches now. */
  get ready(): boolean {
    return this.#lanes.some((lane) => lane.ready);
  }

  /** Rejects with the signal's reason when the image leaves before it is in a batch. */
  infer(image: InferenceRequest, signal: AbortSignal): Promise<InferenceResult> {
    return this.#batching.add(image, signal);
  }

  /** Counts the work of one image, so that the model is not ended under it. */
  async use<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#users++;
    try {
      return await work();
    } finally {
      this.#users--;
      if (this.#users === 0) this.#onUnused();
    }
  }

  /** Resolves when no image uses the model. To be asked once nobody can come to it any more. */
  async unused(): Promise<void> {
    if (this.#users === 0) return;
    await new Promise<void>((resolve) => {
      this.#onUnused = resolve;
    });
  }
}
