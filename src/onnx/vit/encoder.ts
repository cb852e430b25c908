/** What the two encoders, `encoder-cpu.ts` and `encoder-cuda.ts`, do alike. */
import type { Weights } from './architecture.js';

export interface Encoder {
  /** z₀ [batch, tokens, hidden], in the encoder's float type, to z_L of the same shape; both are names of values in the graph. */
  encode(tokens: string, weights: Weights): string;
}
