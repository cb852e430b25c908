/**
 * The encoder in plain ONNX, in the shapes that onnxruntime's CPU provider runs fastest and fuses
 * on loading: GELU as the Erf pattern, bias additions behind MatMul. docs/internals/decisions/0011
 * has the measurements.
 */
import { int, ints } from '../graph/build.js';
import type { FloatType, GraphBuilder } from '../graph/graph-builder.js';
import {
  type Architecture,
  type Block,
  type Dense,
  type Norm,
  tokensOf,
  type Weights,
} from './architecture.js';
import { type Encoder, firstTokens, seenTokens } from './encoder.js';
import { dense, layerNorm } from './layers.js';

export class CpuEncoder implements Encoder {
  readonly #graph: GraphBuilder;
  readonly #architecture: Architecture;
  readonly #type: FloatType;
  readonly #tokens: number;

  constructor(graph: GraphBuilder, architecture: Architecture, type: FloatType) {
    this.#graph = graph;
    this.#architecture = architecture;
    this.#type = type;
    this.#tokens = tokensOf(architecture);
  }

  encode(tokens: string, weights: Weights): string {
    const { layers } = this.#architecture;
    let z = tokens;
    for (let index = 0; index < layers; index++) {
      const wanted = index === layers - 1 ? seenTokens(this.#architecture) : this.#tokens;
      z = this.#block(`layer${index}`, z, weights.block(index), wanted);
    }
    return z;
  }

  /** @param wanted how many tokens, from the first, it outputs */
  #block(name: string, z: string, block: Block, wanted: number): string {
    const graph = this.#graph;
    const { hidden, mlp } = this.#architecture;
    // Equation 2: z′ = MSA(LN(z)) + z
    const normedAll = this.#norm(`${name}.norm1`, z, block.attentionNorm);
    const attended = this.#attention(`${name}.attention`, normedAll, block, wanted);
    const between = graph.node('Add', `${name}.attended`, [
      firstTokens(this.#graph, this.#architecture, `${name}.seen`, z, wanted),
      attended,
    ]);
    // Equation 3: z = MLP(LN(z′)) + z′
    const normed = this.#norm(`${name}.norm2`, between, block.mlpNorm);
    const grown = this.#dense(`${name}.fc1`, normed, block.grow, mlp);
    const shrunk = this.#dense(
      `${name}.fc2`,
      this.#activate(`${name}.gelu`, grown),
      block.shrink,
      hidden,
    );
    return graph.node('Add', `${name}.result`, [between, shrunk]);
  }

  /**
   * Multi-head self-attention (appendix A, equations 5 to 8): softmax(q kᵀ / √d) v for each head,
   * joined and projected, for the first `wanted` tokens.
   */
  #attention(name: string, x: string, block: Block, wanted: number): string {
    const graph = this.#graph;
    const { hidden, heads } = this.#architecture;
    const size = hidden / heads;
    const asking = firstTokens(this.#graph, this.#architecture, `${name}.asking`, x, wanted);
    const query = this.#headsOf(
      `${name}.query`,
      asking,
      block.query,
      wanted,
      [0, 2, 1, 3],
      1 / Math.sqrt(size),
    );
    const key = this.#headsOf(`${name}.key`, x, block.key, this.#tokens, [0, 2, 3, 1]);
    const value = this.#headsOf(`${name}.value`, x, block.value, this.#tokens, [0, 2, 1, 3]);
    const scores = graph.node('MatMul', `${name}.scores`, [query, key]);
    const shares = graph.node('Softmax', `${name}.shares`, [scores], { axis: int(-1) });
    const mixed = graph.node('MatMul', `${name}.mixed`, [shares, value]);
    const joined = graph.node('Transpose', `${name}.joined`, [mixed], { perm: ints([0, 2, 1, 3]) });
    const shape = graph.ints(`tokens.shape.${wanted}`, [0, wanted, hidden]);
    const rows = graph.node('Reshape', `${name}.rows`, [joined, shape]);
    return this.#dense(`${name}.output`, rows, block.output, hidden);
  }

  /**
   * One of q, k and v: [batch, count, hidden] projected, scaled in the weights, and split into
   * heads in the order `perm`.
   */
  #headsOf(
    name: string,
    x: string,
    weights: Dense,
    count: number,
    perm: readonly number[],
    scale = 1,
  ): string {
    const graph = this.#graph;
    const { hidden, heads } = this.#architecture;
    const projected = this.#dense(name, x, weights, hidden, scale);
    const shape = graph.ints(`heads.shape.${count}`, [0, count, heads, hidden / heads]);
    const split = graph.node('Reshape', `${name}.split`, [projected, shape]);
    return graph.node('Transpose', `${name}.heads`, [split], { perm: ints(perm) });
  }

  /**
   * Appendix A of the paper has GELU, which is x · Φ(x) with the error function; other checkpoints
   * approximate it.
   */
  #activate(name: string, x: string): string {
    const graph = this.#graph;
    const constant = (label: string, value: number) =>
      graph.scalar(`gelu.${label}`, value, this.#type);
    switch (this.#architecture.activation) {
      case 'gelu': {
        // x · (erf(x / √2) + 1) · ½, in the order that onnxruntime recognises.
        const scaled = graph.node('Div', `${name}.scaled`, [x, constant('sqrt2', Math.SQRT2)]);
        const erf = graph.node('Erf', `${name}.erf`, [scaled]);
        const shifted = graph.node('Add', `${name}.shifted`, [erf, constant('one', 1)]);
        const gated = graph.node('Mul', `${name}.gated`, [x, shifted]);
        return graph.node('Mul', name, [gated, constant('half', 0.5)]);
      }
      case 'gelu_tanh': {
        // x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) · ½
        const square = graph.node('Mul', `${name}.square`, [x, x]);
        const cube = graph.node('Mul', `${name}.cube`, [square, x]);
        const scaled = graph.node('Mul', `${name}.scaled`, [cube, constant('cubic', 0.044715)]);
        const sum = graph.node('Add', `${name}.sum`, [x, scaled]);
        const inner = graph.node('Mul', `${name}.inner`, [
          sum,
          constant('sqrt2_over_pi', Math.sqrt(2 / Math.PI)),
        ]);
        const tanh = graph.node('Tanh', `${name}.tanh`, [inner]);
        const shifted = graph.node('Add', `${name}.shifted`, [tanh, constant('one', 1)]);
        const gated = graph.node('Mul', `${name}.gated`, [x, shifted]);
        return graph.node('Mul', name, [gated, constant('half', 0.5)]);
      }
      case 'quick_gelu': {
        const scaled = graph.node('Mul', `${name}.scaled`, [x, constant('quick', 1.702)]);
        return graph.node('Mul', name, [x, graph.node('Sigmoid', `${name}.sigmoid`, [scaled])]);
      }
    }
  }

  #norm(name: string, x: string, norm: Norm): string {
    return layerNorm(this.#graph, name, x, norm, this.#architecture.epsilon, this.#type);
  }

  #dense(name: string, x: string, weights: Dense, outputs: number, scale = 1): string {
    return dense(this.#graph, name, x, weights, outputs, this.#type, scale);
  }
}
