/** What the two encoders, `encoder-cpu.ts` and `encoder-cuda.ts`, share. */
import type { GraphBuilder } from '../graph/graph-builder.js';
import { type Architecture, tokensOf, type Weights } from './architecture.js';

export interface Encoder {
  /**
   * z₀ [batch, tokens, hidden], in the encoder's float type, to the rows of z_L that the head sees,
   * [batch, `seenTokens`, hidden]; both are names of values in the graph.
   *
   * Only attention mixes tokens, and no block follows the last one. So the last block makes keys
   * and values of all tokens, and everything else only of the tokens that the head sees: exact, and
   * it saves most of a block.
   */
  encode(tokens: string, weights: Weights): string;
}

/** How many tokens, from the first, the head sees. */
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
 * The first `count` of the tokens [batch, tokens, hidden]; the value itself if that is all of them.
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
