/**
 * Writes a graph line by line: each call adds a node or a constant and returns the name of its
 * value.
 *
 * The caller gives the names, and they must be new, so that the graph reads like the code that made
 * it. A constant requested again under its name is shared. Nothing is copied: a Float32Array
 * becomes the constant's memory.
 */
import { SetupError } from '../../errors.js';
import {
  DataType,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from '../proto/model-proto.js';
import { float16Tensor, float32Tensor, int64Tensor } from '../proto/tensors.js';
import { type AttributeValue, graphOf, modelOf, nodeOf, valueInfoOf } from './build.js';

export type FloatType = 'float32' | 'float16';
type Dims = readonly (number | string)[];

/** com.microsoft, onnxruntime's own operators. */
export const MICROSOFT = 'com.microsoft';

export class GraphBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #constants = new Map<string, TensorProto>();
  readonly #values = new Set<string>();
  readonly #inputs: GraphProto['input'] = [];
  readonly #outputs: GraphProto['output'] = [];
  readonly #domains = new Set<string>();

  input(name: string, type: number, dims: Dims): string {
    this.#claim(name);
    this.#inputs.push(valueInfoOf(name, type, dims));
    return name;
  }

  output(name: string, dims: Dims): void {
    this.#outputs.push(valueInfoOf(name, DataType.FLOAT, dims));
  }

  /**
   * Float values; `name` must be new. float16 rounds to nearest; SetupError where it can't hold a
   * value.
   */
  floats(
    name: string,
    dims: readonly number[],
    values: Float32Array,
    type: FloatType = 'float32',
  ): string {
    if (type === 'float32') return this.#constant(name, float32Tensor(name, dims, values));
    // Half of the step above the largest number still rounds down to it.
    const large = values.find((value) => !(Math.abs(value) < 65_520));
    if (large !== undefined) {
      throw new SetupError('environment', [
        `tensor ${name} has the value ${large}, which float16 can't hold: use float32`,
      ]);
    }
    return this.#constant(name, float16Tensor(name, dims, values));
  }

  /** One float, shared under its name. */
  scalar(name: string, value: number, type: FloatType = 'float32'): string {
    return this.#constants.has(name) ? name : this.floats(name, [], Float32Array.of(value), type);
  }

  /** A list of int64, or one as a scalar, shared under its name. */
  ints(name: string, values: readonly number[] | number): string {
    if (this.#constants.has(name)) return name;
    return this.#constant(
      name,
      typeof values === 'number'
        ? int64Tensor(name, [], [values])
        : int64Tensor(name, [values.length], values),
    );
  }

  /** A node with one output, `name`. Absent inputs are ''. */
  node(
    opType: string,
    name: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    domain = '',
  ): string {
    this.nodes(opType, [name], inputs, attributes, domain);
    return name;
  }

  /** A node with several outputs. Absent ones are ''. */
  nodes<const Names extends readonly string[]>(
    opType: string,
    names: Names,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    domain = '',
  ): Names {
    for (const name of names) if (name !== '') this.#claim(name);
    for (const name of inputs)
      if (name !== '' && !this.#values.has(name)) throw new Error(`${opType}: no value ${name}`);
    if (domain !== '') this.#domains.add(domain);
    this.#nodes.push(nodeOf(opType, inputs, names, { domain, attributes }));
    return names;
  }

  /** The model with what was added so far. `opset`: the version of the standard operators. */
  model(graphName: string, opset: number, producerVersion: string): ModelProto {
    const graph = graphOf(graphName, {
      node: this.#nodes,
      initializer: [...this.#constants.values()],
      input: this.#inputs,
      output: this.#outputs,
    });
    const others = Object.fromEntries([...this.#domains].map((domain) => [domain, 1]));
    return modelOf(graph, {
      irVersion: opset >= 19 ? 9 : 8,
      opsets: { '': opset, ...others },
      producerVersion,
    });
  }

  #constant(name: string, tensor: TensorProto): string {
    this.#claim(name);
    this.#constants.set(name, tensor);
    return name;
  }

  #claim(name: string): void {
    if (this.#values.has(name)) throw new Error(`two values are called ${name}`);
    this.#values.add(name);
  }
}
