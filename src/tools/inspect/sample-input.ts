import type { SampleInput } from '../../workers/inference/node-providers.js';
import { type Inspected, inputDims } from './read-inspected.js';

/** The input of one execution of the graph, or why it is unknown. */
export function sampleInput({ manifest, graph, graphPath }: Inspected): SampleInput | string {
  if (manifest !== null) {
    return { name: manifest.input.name, type: manifest.input.type, dims: inputDims(manifest) };
  }
  const [input, ...others] = graph.inputs;
  const why = `${graphPath}: to show where its nodes run, inspect has to execute it, but`;
  if (input === undefined || others.length > 0)
    return `${why} it takes ${graph.inputs.length} inputs instead of one`;
  const { name, typeName: type, dims } = input;
  if (type !== 'uint8' && type !== 'float32') return `${why} its input "${name}" is ${type}`;
  if (dims === null || dims.slice(1).some((size) => typeof size !== 'number')) {
    return `${why} the size of its input "${name}" is open: give the model folder, whose manifest has it`;
  }
  return { name, type, dims: dims.map((size) => (typeof size === 'number' ? size : 1)) };
}
