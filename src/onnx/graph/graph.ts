/**
 * Reads a graph: which nodes make and take a value, which values are constant, what an attribute
 * says.
 *
 * An index is made in one pass over the graph and answers in constant time; it knows nothing of
 * later edits. A node whose attributes hold graphs (If, Loop) counts as taking whatever these take
 * from outside.
 */
import { SetupError } from '../../errors.js';
import {
  type AttributeProto,
  AttributeType,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from '../proto/model-proto.js';
import { float32Tensor, int64Tensor, typeNameOf } from '../proto/tensors.js';

/**
 * The producers and consumers of each value, as the graph was when `indexGraph` ran: index again
 * after an edit.
 */
export interface GraphIndex {
  readonly graph: GraphProto;
  /** The node that makes a value; undefined for inputs and initializers. */
  producerOf(value: string): NodeProto | undefined;
  /** The nodes that take a value, in graph order, each once. */
  consumersOf(value: string): readonly NodeProto[];
  initializerOf(value: string): TensorProto | undefined;
  /**
   * The constant behind a value: an initializer or a Constant node, also through Identity nodes.
   */
  constantOf(value: string): TensorProto | undefined;
  isOutput(value: string): boolean;
}

export function indexGraph(graph: GraphProto): GraphIndex {
  const producers = new Map<string, NodeProto>();
  const consumers = new Map<string, NodeProto[]>();
  for (const node of graph.node) {
    for (const output of node.output) if (output !== '') producers.set(output, node);
    for (const value of new Set(valuesTakenBy(node))) {
      const takers = consumers.get(value);
      if (takers === undefined) consumers.set(value, [node]);
      else takers.push(node);
    }
  }
  const initializers = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
  const outputs = new Set(graph.output.map(({ name }) => name));
  function constantOf(value: string): TensorProto | undefined {
    let source = value;
    // No chain is longer than the graph, unless it is a cycle.
    for (let step = 0; step <= graph.node.length; step++) {
      const initializer = initializers.get(source);
      if (initializer !== undefined) return initializer;
      const node = producers.get(source);
      if (node?.opType === 'Constant') return constantValue(node);
      if (node?.opType !== 'Identity') return undefined;
      source = node.input[0] ?? '';
    }
    return undefined;
  }
  return {
    graph,
    producerOf: (value) => producers.get(value),
    consumersOf: (value) => consumers.get(value) ?? [],
    initializerOf: (value) => initializers.get(value),
    constantOf,
    isOutput: (value) => outputs.has(value),
  };
}

/**
 * The values that a node takes: its inputs, and what graphs in its attributes take. Absent inputs
 * are left out.
 */
export function valuesTakenBy(node: NodeProto): string[] {
  const taken = node.input.filter((input) => input !== '');
  for (const { g } of node.attribute) {
    if (g === undefined) continue;
    taken.push(...g.node.flatMap(valuesTakenBy), ...g.output.map(({ name }) => name));
  }
  return taken;
}

/**
 * The value of a Constant node in any of its numeric forms (ONNX operator Constant, version 13).
 */
function constantValue(node: NodeProto): TensorProto | undefined {
  const name = node.output[0] ?? '';
  const [attribute] = node.attribute;
  switch (attribute?.name) {
    case 'value':
      return attribute.t;
    case 'value_int':
      return int64Tensor(name, [], [Number(attribute.i ?? 0)]);
    case 'value_ints':
      return int64Tensor(name, [attribute.ints.length], attribute.ints.map(Number));
    case 'value_float':
      return float32Tensor(name, [], [attribute.f ?? 0]);
    case 'value_floats':
      return float32Tensor(name, [attribute.floats.length], attribute.floats);
    default:
      return undefined;
  }
}

/** How problems name a node: `Conv "patch_embed"`. */
export function nodeLabel(node: NodeProto): string {
  return `${node.opType} "${node.name || (node.output[0] ?? '')}"`;
}

export function attributeOf(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find((attribute) => attribute.name === name);
}

function typedAttribute(
  node: NodeProto,
  name: string,
  type: keyof typeof AttributeType,
): AttributeProto | undefined {
  const attribute = attributeOf(node, name);
  if (attribute === undefined || attribute.type === AttributeType[type]) return attribute;
  throw new SetupError('environment', [
    `node ${nodeLabel(node)}: attribute ${name} has type ${attribute.type}, ` +
      `not ${AttributeType[type]} (${type})`,
  ]);
}

/**
 * An attribute of type INT; the default where the node has no such attribute. These functions throw
 * SetupError for another type.
 */
export function intAttribute(node: NodeProto, name: string, whenAbsent: number): number {
  const attribute = typedAttribute(node, name, 'INT');
  return attribute === undefined ? whenAbsent : Number(attribute.i ?? 0);
}

export function floatAttribute(node: NodeProto, name: string, whenAbsent: number): number {
  const attribute = typedAttribute(node, name, 'FLOAT');
  return attribute === undefined ? whenAbsent : (attribute.f ?? 0);
}

export function intsAttribute(node: NodeProto, name: string): number[] | undefined {
  return typedAttribute(node, name, 'INTS')?.ints.map(Number);
}

export function textAttribute(node: NodeProto, name: string, whenAbsent: string): string {
  const attribute = typedAttribute(node, name, 'STRING');
  return attribute === undefined ? whenAbsent : new TextDecoder().decode(attribute.s);
}

export function tensorAttribute(node: NodeProto, name: string): TensorProto | undefined {
  return typedAttribute(node, name, 'TENSOR')?.t;
}

/**
 * The version of an operator set that the model imports; undefined if it imports none. '' and
 * 'ai.onnx' are the same.
 */
export function opsetVersion(model: ModelProto, domain = ''): number | undefined {
  const standard = (name: string) => (name === 'ai.onnx' ? '' : name);
  return model.opsetImport.find((entry) => standard(entry.domain) === standard(domain))?.version;
}

function addNames(graph: GraphProto, names: Set<string>): void {
  for (const { name } of [...graph.initializer, ...graph.input, ...graph.output]) names.add(name);
  for (const node of graph.node) {
    for (const name of [node.name, ...node.input, ...node.output]) names.add(name);
    for (const { g } of node.attribute) if (g !== undefined) addNames(g, names);
  }
}

/**
 * Returns a function that makes names which nothing in the graph (subgraphs included) has yet: the
 * wanted one, or it with `_1`, `_2`…
 */
export function uniqueNames(graph: GraphProto): (wanted: string) => string {
  const names = new Set<string>();
  addNames(graph, names);
  return (wanted) => {
    let name = wanted;
    for (let count = 1; names.has(name); count++) name = `${wanted}_${count}`;
    names.add(name);
    return name;
  };
}

export interface ValueDescription {
  readonly name: string;
  /**
   * DataType, 0 where the graph gives none; `typeName` is `float32`, `uint8`, … (tensors.ts
   * typeNameOf).
   */
  readonly dataType: number;
  readonly typeName: string;
  /** A size, a symbolic name, or null (unknown); null as a whole where the rank is unknown. */
  readonly dims: readonly (number | string | null)[] | null;
}

export function describeValue({ name, type }: ValueInfoProto): ValueDescription {
  const dataType = type?.tensorType?.elemType ?? 0;
  const dims =
    type?.tensorType?.shape?.dim.map(({ dimValue, dimParam }) => dimValue ?? (dimParam || null)) ??
    null;
  return { name, dataType, typeName: typeNameOf(dataType), dims };
}

/** Inputs and outputs. Initializers, which older models list as inputs too, are left out. */
export function describeGraph({ graph }: ModelProto): {
  readonly inputs: readonly ValueDescription[];
  readonly outputs: readonly ValueDescription[];
} {
  const initializers = new Set(graph.initializer.map(({ name }) => name));
  return {
    inputs: graph.input.filter(({ name }) => !initializers.has(name)).map(describeValue),
    outputs: graph.output.map(describeValue),
  };
}
