/**
 * The encoder in onnxruntime's own operators (domain com.microsoft), which have fused CUDA kernels
 * in float32 and float16: attention without its scores in memory, residual + bias + LayerNorm in
 * one pass, bias + GELU in another.
 *
 * Every addition of a residual is one SkipLayerNormalization with the LayerNorm that follows it;
 * its fourth output is the sum, for the next residual. So the loop carries two values: z, and LN(z)
 * of the norm to come.
 *
 * Source: onnxruntime `docs/ContribOperators.md`.
 */
import { float, int } from '../graph/build.js';
import { type FloatType, type GraphBuilder, MICROSOFT } from '../graph/graph-builder.js';
import {
  type Architecture,
  type Block,
  type Dense,
  type Norm,
  tokensOf,
  type Weights,
} from './architecture.js';
import { type Encoder, firstTokens, seenTokens } from './encoder.js';
import { transpose } from './fold.js';
import { layerNorm } from './layers.js';

/** A residual that has not been added yet: z + branch + bias. */
interface Pending {
  readonly z: string;
  readonly branch: string;
  readonly bias: Float32Array | null;
}

export class CudaEncoder implements Encoder {
  readonly #graph: GraphBuilder;
  readonly #architecture: Architecture;
  readonly #type: FloatType;

  constructor(graph: GraphBuilder, architecture: Architecture, type: FloatType) {
    this.#graph = graph;
    this.#architecture = architecture;
    this.#type = type;
  }

  encode(tokens: string, weights: Weights): string {
    const { layers, hidden, mlp } = this.#architecture;
    let pending: Pending | null = null;
    for (let index = 0; index < layers; index++) {
      const name = `layer${index}`;
      const block = weights.block(index);
      // Equation 2: z′ = MSA(LN(z)) + z
      const first: Normed =
        pending === null
          ? { z: tokens, normed: this.#norm(`${name}.norm1`, tokens, block.attentionNorm) }
          : this.#addAndNorm(`${name}.norm1`, pending, block.attentionNorm);
      const wanted =
        index === layers - 1 ? seenTokens(this.#architecture) : tokensOf(this.#architecture);
      const attended = this.#attention(`${name}.attention`, first.normed, block, wanted);
      // Equation 3: z = MLP(LN(z′)) + z′
      const z = firstTokens(this.#graph, this.#architecture, `${name}.seen`, first.z, wanted);
      const second = this.#addAndNorm(`${name}.norm2`, { z, ...attended }, block.mlpNorm);
      const grown = this.#product(`${name}.fc1.product`, second.normed, block.grow, hidden, mlp);
      const active = this.#activate(
        `${name}.gelu`,
        grown,
        block.grow.bias ?? new Float32Array(mlp),
      );
      const shrunk = this.#product(`${name}.fc2`, active, block.shrink, mlp, hidden);
      pending = { z: second.z, branch: shrunk, bias: block.shrink.bias };
    }
    if (pending === null) return tokens;
    const sum = this.#graph.node('Add', 'encoded.sum', [pending.z, pending.branch]);
    return pending.bias === null
      ? sum
      : this.#graph.node('Add', 'encoded', [sum, this.#vector('encoded.bias', pending.bias)]);
  }

  /**
   * Multi-head self-attention (appendix A, equations 5 to 8) for the first `wanted` tokens. The
   * operator divides by √d and adds the three biases.
   */
  #attention(
    name: string,
    x: string,
    block: Block,
    wanted: number,
  ): { branch: string; bias: Float32Array | null } {
    const { hidden, heads } = this.#architecture;
    const { query, key, value, output } = block;
    const inputs = [
      this.#product(
        `${name}.query`,
        firstTokens(this.#graph, this.#architecture, `${name}.asking`, x, wanted),
        query,
        hidden,
        hidden,
      ),
      this.#product(`${name}.key`, x, key, hidden, hidden),
      this.#product(`${name}.value`, x, value, hidden, hidden),
    ];
    if (query.bias !== null || key.bias !== null || value.bias !== null) {
      const bias = new Float32Array(3 * hidden);
      for (const [part, one] of [query, key, value].entries())
        bias.set(one.bias ?? [], part * hidden);
      inputs.push(this.#vector(`${name}.qkv.bias`, bias));
    }
    const mixed = this.#graph.node(
      'MultiHeadAttention',
      `${name}.mixed`,
      inputs,
      { num_heads: int(heads) },
      MICROSOFT,
    );
    return {
      branch: this.#product(`${name}.output`, mixed, output, hidden, hidden),
      bias: output.bias,
    };
  }

  #activate(name: string, x: string, bias: Float32Array): string {
    const graph = this.#graph;
    const shift = this.#vector(`${name}.bias`, bias);
    switch (this.#architecture.activation) {
      case 'gelu':
        return graph.node('BiasGelu', name, [x, shift], {}, MICROSOFT);
      case 'gelu_tanh':
        return graph.node('FastGelu', name, [x, shift], {}, MICROSOFT);
      case 'quick_gelu': {
        const sum = graph.node('Add', `${name}.shifted`, [x, shift]);
        return graph.node('QuickGelu', name, [sum], { alpha: float(1.702) }, MICROSOFT);
      }
    }
  }

  #addAndNorm(name: string, { z, branch, bias }: Pending, norm: Norm): Normed {
    const inputs = [branch, z, ...this.#affine(name, norm)];
    if (bias !== null) inputs.push(this.#vector(`${name}.before`, bias));
    const sum = `${name}.sum`;
    const { epsilon } = this.#architecture;
    this.#graph.nodes(
      'SkipLayerNormalization',
      [name, '', '', sum],
      inputs,
      { epsilon: float(epsilon) },
      MICROSOFT,
    );
    return { z: sum, normed: name };
  }

  #norm(name: string, x: string, norm: Norm): string {
    return layerNorm(this.#graph, name, x, norm, this.#architecture.epsilon, this.#type);
  }

  #affine(name: string, { scale, shift }: Norm): string[] {
    return [this.#vector(`${name}.weight`, scale), this.#vector(`${name}.bias`, shift)];
  }

  #vector(name: string, values: Float32Array): string {
    return this.#graph.floats(name, [values.length], values, this.#type);
  }

  #product(name: string, x: string, { weight }: Dense, from: number, to: number): string {
    const turned = this.#graph.floats(
      `${name}.weight`,
      [from, to],
      transpose(weight, to, from),
      this.#type,
    );
    return this.#graph.node('MatMul', name, [x, turned]);
  }
}

interface Normed {
  readonly z: string;
  readonly normed: string;
}
