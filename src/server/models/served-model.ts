/** What callers may know of the model that is being served. */
export interface ServedModel {
  readonly name: string;
  readonly version: string;
  /** The provider that really runs: `cpu`, `cuda`, `simulated`. */
  readonly executionProvider: string;
  /** Why `auto` did not get CUDA, or null. Not for callers: for the log and the metrics. */
  readonly fallbackReason: string | null;
  /**
   * Why the model's form is slow on this machine, and what helps; null where it is not. For the
   * log.
   */
  readonly slowForm: { readonly reason: string; readonly remedy: string } | null;
  readonly labels: readonly string[];
  readonly inputHeight: number;
  readonly inputWidth: number;
  /** 0: the model has no embedding. */
  readonly embeddingSize: number;
  readonly maxBatchSize: number;
}
