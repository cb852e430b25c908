/**
 * The patch embedding, the first operation with weights that a picture reaches: a convolution or,
 * as converters also write it, a matrix product over patches. It reads raw pixels, so a change of
 * its precision has other effects than elsewhere.
 */

import type { GraphProto, NodeProto } from '../proto/model-proto.js';
import type { GraphIndex } from './graph.js';
import { findWeightedNodes } from './weighted-nodes.js';

/** Batch, height, width, colours, in whatever order. */
const PICTURE_AXES = 4;

/**
 * The nodes with weights that are reached from a picture (an input with four axes) only through
 * nodes without weights.
 */
export function findPatchEmbedding(graph: GraphProto, index: GraphIndex): Set<NodeProto> {
  const weighted = new Set(findWeightedNodes(graph, index).found.map(({ node }) => node));
  const pictures = graph.input.filter(
    ({ type }) => type?.tensorType?.shape?.dim.length === PICTURE_AXES,
  );
  const raw = new Set(
    pictures.map(({ name }) => name).filter((name) => index.initializerOf(name) === undefined),
  );
  const found = new Set<NodeProto>();
  for (const node of graph.node) {
    if (!node.input.some((name) => raw.has(name))) continue;
    if (node.opType === 'Conv' || weighted.has(node)) found.add(node);
    else if (node.opType !== 'LayerNormalization') for (const name of node.output) raw.add(name);
  }
  return found;
}
