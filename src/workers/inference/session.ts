/**
 * What an inference process executes: pixels of a batch in, scores out. There are two kinds: a
 * graph in onnxruntime (`onnx-session.ts`) and a simulation of one (`simulated-session.ts`).
 */
export interface BatchOutput {
  /** Scores after the activation, `[images, classes]`. Valid until the next execution. */
  readonly scores: Float32Array;
  /** `[images, embedding size]`; null if the model has no such output. */
  readonly embeddings: Float32Array | null;
}

export interface Session {
  /** The provider that really runs: `cpu`, `cuda`, `simulated`. */
  readonly executionProvider: string;
  readonly classCount: number;
  readonly embeddingSize: number;
  /**
   * `pixels`: uint8 RGB `[images, height, width, 3]`, possibly longer than that. Blocks the process
   * while it executes.
   */
  run(pixels: Uint8Array, images: number): Promise<BatchOutput>;
}
