/**
 * Edits a graph and leaves the original as it was: makes a copy that shares the weights, frees
 * names, removes dead parts.
 */
import { valuesTakenBy } from '../graph/graph.js';
import type { GraphProto, ModelProto, NodeProto } from '../proto/model-proto.js';

/**
 * A copy whose lists and nodes may be changed. Tensors are shared: replace them, never write into
 * them.
 */
export function editableCopy(model: ModelProto): ModelProto {
  return { ...model, graph: copyGraph(model.graph) };
}

function copyGraph(graph: GraphProto): GraphProto {
  return {
    ...graph,
    node: graph.node.map(copyNode),
    initializer: [...graph.initializer],
    input: [...graph.input],
    output: [...graph.output],
    valueInfo: [...graph.valueInfo],
  };
}

function copyNode(node: NodeProto): NodeProto {
  const attribute = node.attribute.map((one) =>
    one.g === undefined ? one : { ...one, g: copyGraph(one.g) },
  );
  return { ...node, input: [...node.input], output: [...node.output], attribute };
}

/** Renames a value in the graph and in the graphs inside it. */
export function renameValue(graph: GraphProto, from: string, to: string): void {
  const renamed = (name: string) => (name === from ? to : name);
  for (const node of graph.node) {
    node.input = node.input.map(renamed);
    node.output = node.output.map(renamed);
    for (const { g } of node.attribute) if (g !== undefined) renameValue(g, from, to);
  }
  graph.initializer = graph.initializer.map((tensor) =>
    tensor.name === from ? { ...tensor, name: to } : tensor,
  );
  graph.input = graph.input.map((value) => (value.name === from ? { ...value, name: to } : value));
  graph.output = graph.output.map((value) =>
    value.name === from ? { ...value, name: to } : value,
  );
}

/** Removes nodes and constants that no output needs. */
export function prune(graph: GraphProto): void {
  const needed = new Set(graph.output.map(({ name }) => name));
  graph.node = graph.node
    .toReversed()
    .filter((node) => {
      if (!node.output.some((output) => needed.has(output))) return false;
      for (const value of valuesTakenBy(node)) needed.add(value);
      return true;
    })
    .toReversed();
  graph.initializer = graph.initializer.filter(({ name }) => needed.has(name));
}
