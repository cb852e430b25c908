import { type AttributeValue, nodeOf, valueInfoOf } from '../graph/build.js';
import { indexGraph } from '../graph/graph.js';
import { DataType } from '../proto/model-proto.js';
import { renameValue } from './edit.js';
import type { GraphRewrite } from './pass.js';

/** A value and the nodes appended to it, one after another. */
export class ValueChain {
  readonly #rewrite: GraphRewrite;
  readonly #start: string;
  last: string;

  constructor(rewrite: GraphRewrite, value: string) {
    this.#rewrite = rewrite;
    this.#start = value;
    this.last = value;
  }

  append(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
  ): void {
    const output = this.#rewrite.uniqueName(`${this.#start}_${opType.toLowerCase()}`);
    this.#rewrite.graph.node.push(nodeOf(opType, inputs, [output], { attributes }));
    this.last = output;
  }

  /** Ends the chain in a float32 output of that name, after the existing outputs. */
  finish(name: string, dims: readonly (number | string | null)[]): void {
    const { graph, uniqueName } = this.#rewrite;
    const isMade = indexGraph(graph).producerOf(this.last) !== undefined;
    const isOutput = graph.output.some((output) => output.name === this.last);
    if (isMade && !isOutput) renameValue(graph, this.last, name);
    else
      graph.node.push(
        nodeOf('Identity', [this.last], [name], { name: uniqueName(`${name}_output`) }),
      );
    graph.output.push(valueInfoOf(name, DataType.FLOAT, dims));
  }
}
