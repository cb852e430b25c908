/**
 * Checks whether a model is consistent: finds what a runtime would reject before the model is
 * written, and names the place.
 *
 * Structure only (ONNX spec, "Graphs"): each value is made once and before it is used, nothing
 * dangles, constants have the values that their dims ask for. Whether operators exist and types fit
 * is left to the runtime.
 */
import { SetupError } from '../../errors.js';
import type { GraphProto, ModelProto, TensorProto } from '../proto/model-proto.js';
import { checkTensor } from '../proto/tensors.js';
import { nodeLabel, opsetVersion } from './graph.js';

/** GraphProto.sparse_initializer, which has no name in model-proto.ts. */
const SPARSE_INITIALIZER_TAG = (15 << 3) | 2;

/** Problems of a model, each naming node and tensor; empty for a sound one. */
export function checkGraph(model: ModelProto): string[] {
  const problems: string[] = [];
  if (model.irVersion < 3)
    problems.push(
      `the model has IR version ${model.irVersion}, but the oldest supported version is 3`,
    );
  if (model.opsetImport.length === 0) problems.push('the model imports no operator set');
  if (model.graph.output.length === 0) problems.push(`graph "${model.graph.name}" has no outputs`);
  checkScope(model, model.graph, new Set(), problems);
  return problems;
}

function checkScope(
  model: ModelProto,
  graph: GraphProto,
  outer: ReadonlySet<string>,
  problems: string[],
): void {
  const known = new Set(outer);
  const made = new Map<string, string>();
  const make = (value: string, by: string) => {
    const before = made.get(value);
    if (before !== undefined)
      problems.push(`value "${value}" is made twice: by ${before} and by ${by}`);
    made.set(value, by);
    known.add(value);
  };
  const inputs = new Set(graph.input.map(({ name }) => name));
  for (const name of inputs) make(name, 'the input');
  for (const tensor of graph.initializer) {
    // Older models list their initializers as inputs too.
    if (!inputs.has(tensor.name)) make(tensor.name, 'an initializer');
    checkConstant(tensor, `initializer`, problems);
  }
  // The names of sparse initializers are not known here, so beside them nothing can be called
  // dangling.
  const dangles = (value: string) =>
    value !== '' &&
    !known.has(value) &&
    !graph.unknown?.some((field) => field[0] === SPARSE_INITIALIZER_TAG);
  const nodeNames = new Set<string>();
  const later = new Set(graph.node.flatMap(({ output }) => output));
  for (const node of graph.node) {
    const label = nodeLabel(node);
    // onnxruntime rejects these; nodes without a name are fine.
    if (nodeNames.has(node.name)) problems.push(`two nodes have the name "${node.name}"`);
    if (node.name !== '') nodeNames.add(node.name);
    if (node.opType === '') problems.push(`node "${node.name}" has no operator`);
    if (opsetVersion(model, node.domain) === undefined && model.opsetImport.length > 0) {
      problems.push(`node ${label}: the model does not import the operator set "${node.domain}"`);
    }
    for (const input of node.input.filter(dangles)) {
      const reason = later.has(input) ? 'is made only after it' : 'is made by no node';
      problems.push(`node ${label}: input "${input}" ${reason}`);
    }
    for (const { name, t, g } of node.attribute) {
      if (t !== undefined) checkConstant(t, `node ${label}, attribute ${name}:`, problems);
      if (g !== undefined) checkScope(model, g, known, problems);
    }
    if (node.output.every((output) => output === '')) problems.push(`node ${label} has no outputs`);
    for (const output of node.output) if (output !== '') make(output, `node ${label}`);
  }
  for (const { name } of graph.output) {
    if (dangles(name)) problems.push(`graph output "${name}" is made by no node`);
  }
}

function checkConstant(tensor: TensorProto, place: string, problems: string[]): void {
  try {
    checkTensor(tensor);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    problems.push(...error.problems.map((problem) => `${place} ${problem}`));
  }
}
