/**
 * The second half of the line, which belongs to one version of one model: its queue, its batches,
 * its inference processes.
 *
 * It counts who uses it, so that a version that has been replaced can be ended when its last image
 * is answered.
 */

import type { Clock } from '../../clock.js';
import type { InferenceRequest, InferenceResult } from '../../workers/inference/messages.js';
import { ProcessLostError } from '../../workers/process/lane.js';
import { Quarantine } from '../admission/quarantine.js';
import { type BatchCost, CostTable } from '../scheduling/cost-table.js';
import { Dispatcher, type Terms } from '../scheduling/dispatcher.js';
import type { BatchLane } from '../scheduling/lane.js';
import type { ServedModel } from './served-model.js';

/** Told what a model does; `telemetry/` implements it. Times are milliseconds. */
export interface ModelLineObserver {
  executed(model: string, batchSize: number, executionMs: number): void;
  batchRetried(model: string): void;
  batchQueueLength(model: string, length: number): void;
  /** An image was found to end the inference processes that execute it. */
  batchQuarantined(sha256: string, bytes: number): void;
}

export type InferenceBatchLane = BatchLane<readonly InferenceRequest[], readonly InferenceResult[]>;

export class ModelLine {
  readonly model: ServedModel;
  /** What a decoder is told with every image of this model: a PixelPlan as JSON. */
  readonly plan: string;
  /** Images that end this model's processes. */
  readonly quarantine: Quarantine;
  readonly #lanes: readonly InferenceBatchLane[];
  readonly #costs: CostTable;
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
    /** The sizes that batches are padded to, ascending; null: none. */
    readonly fixedBatchSizes: readonly number[] | null;
    /** What batches cost as a process found when it started. */
    readonly warmUpCosts: readonly BatchCost[];
    readonly clock: Clock;
    readonly observer: ModelLineObserver;
  }) {
    const { model, plan, lanes, fixedBatchSizes, warmUpCosts, clock, observer } = options;
    const costs = new CostTable(fixedBatchSizes);
    for (const { batchSize, milliseconds } of warmUpCosts) costs.record(batchSize, milliseconds);
    this.model = model;
    this.plan = plan;
    this.quarantine = new Quarantine(clock, (...about) => observer.batchQuarantined(...about));
    this.#lanes = lanes;
    this.#costs = costs;
    this.#batching = new Dispatcher({
      lanes,
      maxBatchSize: model.maxBatchSize,
      costs,
      clock,
      toCall: (images) => images,
      toResults: (results) => {
        const executed = results.find((result) => result.kind === 'executed');
        if (executed !== undefined)
          observer.executed(model.name, executed.batchSize, executed.executionMs);
        return results;
      },
      workedOn: (results) => results.filter(({ kind }) => kind === 'executed').length,
      isLoss: (error) => error instanceof ProcessLostError,
      isSuspicion: (error) => error instanceof ProcessLostError && error.suspect,
      observer: {
        queueLength: (length) => observer.batchQueueLength(model.name, length),
        retried: () => observer.batchRetried(model.name),
      },
    });
  }

  /**
   * What batches cost now, by ascending size: from when a process is free until the front has the
   * answer.
   */
  get costs(): readonly BatchCost[] {
    return this.#costs.rows;
  }

  /** Inference processes, ready or not. */
  get processes(): number {
    return this.#lanes.length;
  }

  /** Whether a process takes batches now. */
  get ready(): boolean {
    return this.#lanes.some((lane) => lane.ready);
  }

  /**
   * Milliseconds until an image of this scheduling deadline would be answered whose pixels are
   * there in `inMs`, where `decoding` images of any model are decoded before it. Null where that
   * can't be told.
   */
  estimateMs(schedulingDeadline: number, inMs: number, decoding: number): number | null {
    // Those of its own that have not come here yet, the image that asks not counted.
    const onTheWay = this.#users - this.#batching.images - 1;
    return this.#batching.estimateMs(schedulingDeadline, {
      inMs,
      ahead: Math.max(0, Math.min(decoding, onTheWay)),
    });
  }

  /**
   * Rejects with the signal's reason when the image leaves before it is in a batch, or with
   * DEADLINE_UNREACHABLE.
   */
  infer(image: InferenceRequest, terms: Terms): Promise<InferenceResult> {
    return this.#batching.add(image, terms);
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
