/**
 * float16 for CUDA: weights and arithmetic in half precision, inputs and outputs as they were.
 *
 * Every float32 node becomes a float16 node, unless that would cost accuracy without gain or is
 * impossible. Casts connect the two kinds, one for each value however many nodes take it. These
 * stay float32:
 * - the patch embedding and the nodes before it: it reads raw pixels, its weights contain
 *   1/(255·std) and reach float16's subnormals, and it is one hundredth of the work;
 * - Softmax or Sigmoid that makes the answer: probabilities of a thousand classes need the digits;
 * - nodes with a constant beyond 65504.
 * A graph with an operator that `shape-rules.ts` does not know is rejected; all operators that it
 * knows have float16 kernels in onnxruntime's CUDA provider.
 *
 * LayerNorm, Softmax and matrix products accumulate in float32 inside their CUDA kernels. On a CPU
 * such a graph runs, but slower than float32: onnxruntime widens and narrows around every node.
 */
import { SetupError } from '../../errors.js';
import { int, nodeOf, tensor } from '../graph/build.js';
import {
  type GraphIndex,
  indexGraph,
  nodeLabel,
  tensorAttribute,
  uniqueNames,
} from '../graph/graph.js';
import { findPatchEmbedding } from '../graph/patch-embedding.js';
import { inferShapes } from '../graph/shapes.js';
import { withoutUnusedConstants } from '../graph/unused-constants.js';
import {
  AttributeType,
  DataType,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from '../proto/model-proto.js';
import { float16Tensor, floatsOf } from '../proto/tensors.js';

/** The largest finite float16. */
const LARGEST = 65_504;

export interface Float16Graph {
  readonly model: ModelProto;
  /** Nodes that compute in float16. */
  readonly halved: number;
  /** Nodes that stayed float32, each with a reason for people to read. */
  readonly kept: readonly string[];
}

/**
 * The same graph in half precision; the given model stays as it was. Throws SetupError that names
 * node and remedy.
 */
export function convertToFloat16(model: ModelProto): Float16Graph {
  const { graph } = model;
  const shapes = inferShapes(model);
  const typeOf = (name: string): number => shapes.valueOf(name)?.dataType ?? 0;
  const problems = problemsOf(model, typeOf);
  if (problems.length > 0) throw new SetupError('environment', problems);

  const index = indexGraph(graph);
  const beforePatches = upToPatches(model, index);
  const rewrite = new Rewrite(index, uniqueNames(graph), typeOf);
  const kept: string[] = [];
  let halved = 0;
  for (const node of graph.node) {
    const computes = [...node.input, ...node.output].some(
      (name) => typeOf(name) === DataType.FLOAT,
    );
    const reason = computes ? reasonToKeep(node, index, beforePatches) : null;
    if (reason !== null) kept.push(`${nodeLabel(node)}: ${reason}`);
    if (!computes) rewrite.nodes.push(node);
    else if (node.opType !== 'Constant') {
      if (reason === null) halved++;
      rewrite.place(node, reason === null);
    }
  }
  const rewritten = withoutUnusedConstants({
    ...graph,
    node: rewrite.nodes,
    initializer: [...graph.initializer, ...rewrite.constants],
    valueInfo: [],
  });
  return { model: { ...model, graph: rewritten }, halved, kept };
}

function problemsOf({ graph }: ModelProto, typeOf: (name: string) => number): string[] {
  const problems: string[] = [];
  const already = graph.initializer.find(({ dataType }) => dataType === DataType.FLOAT16);
  if (already !== undefined)
    problems.push(`"${already.name}" is float16 already: give the float32 graph of the model`);
  const untold = new Set<string>();
  for (const node of graph.node) {
    if (node.opType === 'MatMulInteger' || node.opType === 'DynamicQuantizeLinear') {
      problems.push(
        `${nodeLabel(node)}: the graph is quantized: give the float32 graph of the model`,
      );
      break;
    }
    if (node.attribute.some(({ type }) => type === AttributeType.GRAPH)) {
      problems.push(
        `${nodeLabel(node)}: float16 does not support a graph inside a graph: export it without control flow`,
      );
    }
    if (node.output.some((name) => name !== '' && typeOf(name) === 0)) untold.add(node.opType);
  }
  // Behind an unknown operator everything is unknown, so only the first one is named.
  const [first] = untold;
  if (first !== undefined && problems.length === 0) {
    problems.push(
      `float16: what the operator ${first} returns is unknown, so its type can't be changed safely`,
    );
  }
  return problems;
}

/** The patch embedding and every node that feeds it. */
function upToPatches({ graph }: ModelProto, index: GraphIndex): Set<NodeProto> {
  const found = findPatchEmbedding(graph, index);
  const leading = new Set([...found].flatMap(({ input }) => input));
  for (const node of graph.node.toReversed()) {
    if (!node.output.some((name) => leading.has(name))) continue;
    found.add(node);
    for (const name of node.input) leading.add(name);
  }
  return found;
}

function reasonToKeep(
  node: NodeProto,
  index: GraphIndex,
  beforePatches: ReadonlySet<NodeProto>,
): string | null {
  if (beforePatches.has(node)) return 'the patch embedding and what feeds it';
  const makesAnswer = node.output.some((name) => index.isOutput(name));
  if (makesAnswer && (node.opType === 'Softmax' || node.opType === 'Sigmoid'))
    return 'makes the answer';
  for (const name of node.input) {
    const constant = index.constantOf(name);
    if (
      constant?.dataType === DataType.FLOAT &&
      floatsOf(constant).some((value) => Math.abs(value) > LARGEST)
    ) {
      return `the constant "${name}" is beyond float16`;
    }
  }
  return null;
}

class Rewrite {
  readonly nodes: NodeProto[] = [];
  readonly constants: TensorProto[] = [];
  readonly #index: GraphIndex;
  readonly #unique: (wanted: string) => string;
  readonly #typeOf: (name: string) => number;
  /** For each float value of the graph, its names as float16 and as float32. */
  readonly #half = new Map<string, string>();
  readonly #full = new Map<string, string>();

  constructor(
    index: GraphIndex,
    unique: (wanted: string) => string,
    typeOf: (name: string) => number,
  ) {
    this.#index = index;
    this.#unique = unique;
    this.#typeOf = typeOf;
  }

  place(node: NodeProto, half: boolean): void {
    const input = node.input.map((name) =>
      this.#typeOf(name) === DataType.FLOAT ? this.#take(name, half) : name,
    );
    const output: string[] = [];
    const casts: NodeProto[] = [];
    for (const name of node.output) {
      if (this.#typeOf(name) !== DataType.FLOAT) output.push(name);
      else if (!half) {
        this.#full.set(name, name);
        output.push(name);
      } else {
        // An output of the graph keeps its name and type, so the half value needs another name.
        const halfName = this.#index.isOutput(name) ? this.#unique(`${name}.float16`) : name;
        this.#half.set(name, halfName);
        output.push(halfName);
        if (halfName !== name) {
          casts.push(this.#cast(halfName, name, DataType.FLOAT));
          this.#full.set(name, name);
        }
      }
    }
    this.nodes.push({ ...(half ? withHalfAttributes(node) : node), input, output }, ...casts);
  }

  /**
   * The name of a float value in the wanted type; adds the Cast or the constant if there is none
   * yet.
   */
  #take(name: string, half: boolean): string {
    const wanted = half ? this.#half : this.#full;
    const known = wanted.get(name);
    if (known !== undefined) return known;
    const constant = this.#index.constantOf(name);
    const made = (half ? this.#full : this.#half).get(name);
    // A value that no node makes (an input or initializer) is float32 under its own name.
    if (
      !half &&
      made === undefined &&
      (constant === undefined || this.#index.initializerOf(name) !== undefined)
    )
      return name;
    const taken = this.#unique(`${name}.${half ? 'float16' : 'float32'}`);
    if (constant === undefined) {
      this.nodes.push(this.#cast(made ?? name, taken, half ? DataType.FLOAT16 : DataType.FLOAT));
    } else {
      this.constants.push(
        half
          ? float16Tensor(taken, constant.dims, floatsOf(constant))
          : { ...constant, name: taken },
      );
    }
    wanted.set(name, taken);
    return taken;
  }

  #cast(from: string, to: string, dataType: number): NodeProto {
    // An output of the graph often has the name of the node that makes it, and that node stays.
    return nodeOf('Cast', [from], [to], {
      name: this.#unique(`${to}.cast`),
      attributes: { to: int(dataType) },
    });
  }
}

/** Attributes that name the type of the result. */
function withHalfAttributes(node: NodeProto): NodeProto {
  if (node.opType === 'Cast') {
    const attribute = node.attribute.map((one) =>
      one.name === 'to' && one.i === DataType.FLOAT ? { ...one, i: DataType.FLOAT16 } : one,
    );
    return { ...node, attribute };
  }
  if (node.opType === 'ConstantOfShape') {
    const value = tensorAttribute(node, 'value');
    if (value !== undefined && value.dataType !== DataType.FLOAT) return node;
    const filler = value === undefined ? [0] : floatsOf(value);
    return { ...node, attribute: [{ name: 'value', ...tensor(float16Tensor('', [1], filler)) }] };
  }
  return node;
}
