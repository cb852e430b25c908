/**
 * One served version of one model: its description, and the stage that executes it.
 *
 * It counts the images that use it, so that a replaced version can be stopped after its last image.
 */
import type { InferenceOutput, InferenceRequest } from '../../workers/inference/messages.js';
import type { Stage } from '../scheduling/stage.js';

/** What callers may know of a model, and two fields for the log. */
export interface ModelInfo {
  readonly name: string;
  readonly version: string;
  /** The provider in use: `cpu`, `cuda`, `simulated`. */
  readonly executionProvider: string;
  /** Why `auto` did not get CUDA, or null. For the log and the metrics. */
  readonly fallbackReason: string | null;
  /** Why the form of the model is slow on this machine, and what helps; null: it is not slow. */
  readonly slowForm: { readonly reason: string; readonly remedy: string } | null;
  readonly labels: readonly string[];
  /** Pixels. */
  readonly inputHeight: number;
  readonly inputWidth: number;
  /** 0: the model has no embedding. */
  readonly embeddingSize: number;
  readonly maxBatchSize: number;
}

export class ServedModel {
  readonly info: ModelInfo;
  /** What decoders get with every image of this model: a PixelPlan as JSON. */
  readonly plan: string;
  readonly inference: Stage<InferenceRequest, InferenceOutput>;
  #users = 0;
  #onUnused: () => void = () => {};

  constructor(info: ModelInfo, plan: string, inference: Stage<InferenceRequest, InferenceOutput>) {
    this.info = info;
    this.plan = plan;
    this.inference = inference;
  }

  /**
   * Milliseconds until the answer to an image with this scheduling deadline that is decoded in
   * `inMs`, after `decoding` images of any model. `inUse`: the image is one of those in `use`. Null:
   * unknown.
   */
  estimateMs(
    schedulingDeadline: number,
    { inMs, decoding, inUse }: { inMs: number; decoding: number; inUse: boolean },
  ): number | null {
    // Images of this model that have not reached its queue, without this one.
    const onTheWay = this.#users - this.inference.images - (inUse ? 1 : 0);
    const ahead = Math.max(0, Math.min(decoding, onTheWay));
    return this.inference.estimateMs(schedulingDeadline, { inMs, ahead });
  }

  /** Counts the work on one image, so that the model does not stop during it. */
  async use<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#users++;
    try {
      return await work();
    } finally {
      this.#users--;
      if (this.#users === 0) this.#onUnused();
    }
  }

  /** Resolves when no image uses the model. Call it once the model gets no new image. */
  async unused(): Promise<void> {
    if (this.#users === 0) return;
    await new Promise<void>((resolve) => {
      this.#onUnused = resolve;
    });
  }
}
