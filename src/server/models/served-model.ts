/**
 * One version of one model that is served: what is known of it, and the stage that executes it.
 *
 * It counts the images that use it, so that a version that was replaced can be ended when its last
 * image is answered.
 */
import type { InferenceOutput, InferenceRequest } from '../../workers/inference/messages.js';
import type { Stage } from '../scheduling/stage.js';

/** What callers may know of a model, and two things that are for the log. */
export interface ModelInfo {
  readonly name: string;
  readonly version: string;
  /** The provider that really runs: `cpu`, `cuda`, `simulated`. */
  readonly executionProvider: string;
  /** Why `auto` did not get CUDA, or null. For the log and the metrics. */
  readonly fallbackReason: string | null;
  /** Why the model's form is slow on this machine, and what helps; null where it is not. */
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
  /** What a decoder is told with every image of this model: a PixelPlan as JSON. */
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
   * Milliseconds until an image of this scheduling deadline would be answered whose pixels are
   * there in `inMs`, where `decoding` images of any model are decoded before it. Null where that is
   * unknown.
   */
  estimateMs(schedulingDeadline: number, inMs: number, decoding: number): number | null {
    // Images of this model that have not come to its queue yet, without the one that asks.
    const onTheWay = this.#users - this.inference.images - 1;
    const ahead = Math.max(0, Math.min(decoding, onTheWay));
    return this.inference.estimateMs(schedulingDeadline, { inMs, ahead });
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

  /** Resolves when no image uses the model. To be asked once no image can come to it any more. */
  async unused(): Promise<void> {
    if (this.#users === 0) return;
    await new Promise<void>((resolve) => {
      this.#onUnused = resolve;
    });
  }
}
