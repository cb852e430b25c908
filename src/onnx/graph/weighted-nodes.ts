/**
 * Finds the nodes of a graph that multiply activations by constant weights, MatMul and Gemm, and
 * reads them into one form: `y = x·W + c` with W as `[inputs, outputs]`.
 */

import type { GraphProto, NodeProto, TensorProto } from '../proto/model-proto.js';
import { floatAttribute, type GraphIndex, intAttribute, nodeLabel } from './graph.js';

export interface WeightedNode {
  readonly node: NodeProto;
  /** The value x. */
  readonly activation: string;
  readonly weight: TensorProto;
  /** Whether the tensor holds W as `[outputs, inputs]`. */
  readonly transposed: boolean;
  /** y = factor · (x·W) + addend. 1 for MatMul. */
  readonly factor: number;
  /** The value c, or null. Gemm's beta is 1 wherever c is present. */
  readonly addend: string | null;
  /** Whether it is a classifier: no other weighted node comes after it. */
  readonly isHead: boolean;
}

export interface WeightedNodes {
  readonly found: readonly WeightedNode[];
  /** Nodes that have constant weights but not this form, each with a reason for people to read. */
  readonly others: readonly string[];
}

/** @param graph with its nodes in an order in which they can run, as ONNX requires */
export function findWeightedNodes(graph: GraphProto, index: GraphIndex): WeightedNodes {
  const read: Omit<WeightedNode, 'isHead'>[] = [];
  const others: string[] = [];
  for (const node of graph.node) {
    const result = readNode(node, index);
    if (result === null) continue;
    if (typeof result === 'string') others.push(`${nodeLabel(node)}: ${result}`);
    else read.push(result);
  }
  const heads = lastOf(graph, new Set(read.map(({ node }) => node)));
  return { found: read.map((one) => ({ ...one, isHead: heads.has(one.node) })), others };
}

/** Null: no weights. A text: it has weights, and why their form is not known here. */
function readNode(
  node: NodeProto,
  index: GraphIndex,
): Omit<WeightedNode, 'isHead'> | string | null {
  if (node.domain !== '' && node.domain !== 'ai.onnx') return null;
  if (node.opType !== 'MatMul' && node.opType !== 'Gemm') return null;
  const [activation, weightName, addend] = node.input;
  if (activation === undefined || weightName === undefined) return null;
  const weight = index.constantOf(weightName);
  if (weight === undefined || index.constantOf(activation) !== undefined) return null;
  if (weight.dims.length !== 2) return `weights with ${weight.dims.length} axes instead of two`;
  if (node.opType === 'MatMul') {
    return { node, activation, weight, transposed: false, factor: 1, addend: null };
  }
  if (intAttribute(node, 'transA', 0) !== 0) return 'a transposed activation';
  const hasAddend = addend !== undefined && addend !== '';
  if (hasAddend && floatAttribute(node, 'beta', 1) !== 1) return 'a bias with a factor (beta)';
  return {
    node,
    activation,
    weight,
    transposed: intAttribute(node, 'transB', 0) !== 0,
    factor: floatAttribute(node, 'alpha', 1),
    addend: hasAddend ? addend : null,
  };
}

/** The `nodes` from which no other of them is reached. */
function lastOf(graph: GraphProto, nodes: ReadonlySet<NodeProto>): Set<NodeProto> {
  const last = new Set<NodeProto>();
  /** Values that some node of the set needs, directly or not. */
  const leading = new Set<string>();
  for (const node of graph.node.toReversed()) {
    const leads = node.output.some((name) => leading.has(name));
    if (nodes.has(node) && !leads) last.add(node);
    if (nodes.has(node) || leads) for (const name of node.input) leading.add(name);
  }
  return last;
}
