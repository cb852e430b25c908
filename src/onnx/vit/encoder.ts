/** What the two encoders, `encoder-cpu.ts` and `encoder-cuda.ts`, do alike. */
import type { GraphBuilder } from '../graph/graph-builder.js';
import { type Architecture, tokensOf, type Weights } from './architecture.js';

export interface Encoder {
  /**
   * z₀ [batch, tokens, hidden], in the encoder's float type, to the rows of z_L that the head sees,
   * [batch, `seenTokens`, hidden]; both are names of values in the graph.
   *
   * Only attention mixes tokens, and no block comes after the last one. So there keys and values
   * are made of all tokens, everything else of those that are seen: exact, and most of a block less
   * to do.
   */
  encode(tokens: string, weights: Weights): string;
}

/** How many tokens the head sees; the first ones where these are not all. */
export function seenTokens(architecture: Architecture): number {
  switch (architecture.pooling) {
    case 'token':
      return 1;
    case 'distilled':
      return 2;
    case 'average':
      return tokensOf(architecture);
  }
}

/**
 * The first `count` of the tokens [batch, tokens, hidden]; the value itself where that is all of
 * them.
 */
export function firstTokens(
  graph: GraphBuilder,
  architecture: Architecture,
  name: string,
  value: string,
  count: number,
): string {
  if (count === tokensOf(architecture)) return value;
  const [begin, end] = [graph.ints('seen.begin', [0]), graph.ints('seen.end', [count])];
  return graph.node('Slice', name, [value, begin, end, graph.ints('tokens.axis', [1])]);
}
