/**
 * A graph as `models/sources` looks at it: values, operators, and the operators that make the
 * outputs.
 */
import type { GraphView } from '../../models/sources/graph-view.js';
import type { GraphProto, ModelProto } from '../proto/model-proto.js';
import { typeNameOf } from '../proto/tensors.js';
import { describeGraph, indexGraph } from './graph.js';

/** Operators that change the type or shape of values but not their meaning. */
const PASSING = ['Identity', 'Cast', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'];

export function viewGraph(model: ModelProto): GraphView {
  const { graph } = model;
  const { inputs, outputs } = describeGraph(model);
  return {
    inputs,
    outputs,
    lastOperators: new Map(outputs.map(({ name }) => [name, lastOperator(graph, name)])),
    operators: new Set(graph.node.map(({ opType }) => opType)),
    weightTypes: new Set(graph.initializer.map(({ dataType }) => typeNameOf(dataType))),
  };
}

function lastOperator(graph: GraphProto, output: string): string {
  const index = indexGraph(graph);
  let node = index.producerOf(output);
  // A cyclic graph is rejected elsewhere; here it must only not hang.
  for (
    let steps = 0;
    steps < PASSING.length && node !== undefined && PASSING.includes(node.opType);
    steps++
  ) {
    node = index.producerOf(node.input[0] ?? '');
  }
  return node?.opType ?? '';
}
