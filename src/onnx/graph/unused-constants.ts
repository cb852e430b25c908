/**
 * Removes the constants that a graph no longer needs after a rewrite. Subgraphs (If, Loop) may use
 * those of the outer graph.
 */
import type { GraphProto } from '../proto/model-proto.js';

/**
 * Nodes that stand for a constant, or pass one on under another name as PyTorch's exporter does for
 * equal weights.
 */
const PASSING: ReadonlySet<string> = new Set(['Constant', 'Identity']);

/**
 * The graph without the initializers that no node takes, and without the Constant and Identity
 * nodes whose result no node takes.
 */
export function withoutUnusedConstants(graph: GraphProto): GraphProto {
  let { node } = graph;
  for (;;) {
    const used = usesOf({ ...graph, node });
    const needed = node.filter(
      ({ opType, output }) => !PASSING.has(opType) || output.some((name) => used.has(name)),
    );
    if (needed.length === node.length) {
      return {
        ...graph,
        node,
        initializer: graph.initializer.filter(({ name }) => used.has(name)),
      };
    }
    node = needed;
  }
}

function usesOf(graph: GraphProto, used: Set<string> = new Set()): Set<string> {
  for (const { name } of graph.output) used.add(name);
  for (const { input, attribute } of graph.node) {
    for (const name of input) used.add(name);
    for (const { g } of attribute) if (g !== undefined) usesOf(g, used);
  }
  return used;
}
