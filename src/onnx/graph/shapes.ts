/**
 * Shapes and types of every value of a graph, from known input shapes. `summary.ts` counts by them;
 * the float16 rewrite decides by them.
 *
 * Nodes are walked once, in order, with the rules of `shape-rules.ts`. Small integer values are
 * computed too, since exporters compute the target of a Reshape in the graph (Shape → Gather →
 * Concat). A value that no rule can tell has no entry, and neither have the values that depend on
 * it; the operators responsible are named. Costs a few ms for a ViT.
 */

import type { GraphProto, ModelProto, NodeProto } from '../proto/model-proto.js';
import { type KnownValue, knownConstant } from './known-value.js';
import { inferNode } from './shape-rules.js';

export interface InferredShapes {
  valueOf(name: string): KnownValue | undefined;
  /**
   * Operators that have no rule, or whose rule could not tell, each once: `Resize`,
   * `com.example.Thing`.
   */
  readonly unknownOperators: readonly string[];
}

/**
 * @param inputDims dims of the graph's inputs by name. An input without an entry has the dims of
 *   the graph, with 1 for every open size.
 */
export function inferShapes(
  model: ModelProto,
  inputDims: Readonly<Record<string, readonly number[]>> = {},
): InferredShapes {
  const { graph } = model;
  const values = new Map<string, KnownValue>();
  for (const tensor of graph.initializer) values.set(tensor.name, knownConstant(tensor));
  for (const { name, dataType, dims } of inputsOf(graph)) {
    values.set(name, { dataType, dims: inputDims[name] ?? dims?.map((size) => size ?? 1) ?? null });
  }
  const unknown = new Set<string>();
  for (const node of graph.node) {
    const inputs = node.input.map((name) => (name === '' ? undefined : values.get(name)));
    const outputs = inferNode(node, inputs);
    const isBlind = node.input.some(
      (name, at) => name !== '' && (inputs[at]?.dims ?? null) === null,
    );
    if (!isBlind && outputs.every((output) => (output?.dims ?? null) === null))
      unknown.add(operatorOf(node));
    outputs.forEach((output, at) => {
      const name = node.output[at];
      if (name !== undefined && name !== '' && output !== undefined) values.set(name, output);
    });
  }
  return { valueOf: (name) => values.get(name), unknownOperators: [...unknown] };
}

/** The name of an operator: with its domain unless that is the standard one. */
export function operatorOf({ domain, opType }: NodeProto): string {
  return domain === '' || domain === 'ai.onnx' ? opType : `${domain}.${opType}`;
}

function inputsOf(graph: GraphProto) {
  const constants = new Set(graph.initializer.map(({ name }) => name));
  return graph.input
    .filter(({ name }) => !constants.has(name))
    .map(({ name, type }) => ({
      name,
      dataType: type?.tensorType?.elemType ?? 0,
      dims: type?.tensorType?.shape?.dim.map(({ dimValue }) => dimValue) ?? null,
    }));
}
