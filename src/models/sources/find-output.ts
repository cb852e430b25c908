/**
 * Finds the graph's classes: which output, how many, and which activation makes probabilities of
 * them. The rank of the output shows when a graph is not an image classifier.
 */
import { describeValue, type GraphView, type ValueView } from './graph-view.js';
import type { SourceConfig } from './source-config.js';

export type Activation = 'softmax' | 'sigmoid' | 'none';

export interface FoundOutput {
  readonly name: string;
  readonly kind: 'logits' | 'probabilities';
  readonly activation: Activation;
  /** The source of the activation, for the summary. */
  readonly activationFrom: string;
  /** Null if the graph leaves it open. A single output that stands for yes or no counts as one. */
  readonly classCount: number | null;
  readonly rank: 1 | 2;
}

export interface OutputFlags {
  readonly output: string | null;
  readonly activation: Activation | null;
}

/** Exporters' names of the classes' output, beside other outputs. */
const CLASS_OUTPUTS = ['logits', 'probabilities', 'output', 'output0', 'scores'];

/** Null if there are problems, which are added to the list. */
export function findOutput(
  graph: GraphView,
  config: SourceConfig | null,
  flags: OutputFlags,
  problems: string[],
): FoundOutput | null {
  const output = chooseOutput(graph, flags.output, problems);
  if (output === null) return null;
  const what = `output "${output.name}" is ${describeValue(output)}`;
  if (!['float32', 'float16'].includes(output.typeName)) {
    problems.push(`${what}: export it as float32 or float16`);
    return null;
  }
  const { dims } = output;
  if (dims === null) {
    problems.push(`${what}: run onnx.shape_inference on the graph, or export it again`);
    return null;
  }
  const classes = dims.length === 1 ? 1 : (dims[1] ?? null);
  if (dims.length > 2) {
    const hint = dims.length === 3 ? 'a sequence, with one vector per patch,' : 'a map';
    problems.push(
      `${what}: that is ${hint} and not [batch, classes]: export the model with its classification head`,
    );
    return null;
  }
  if (dims.length === 0) {
    problems.push(
      `${what}: that is one value for the whole batch and not [batch, classes]: export the model with its classification head`,
    );
    return null;
  }
  const activation = findActivation(
    graph,
    output.name,
    classes,
    config,
    flags.activation,
    problems,
  );
  if (activation === null) return null;
  const classCount = typeof classes === 'number' && classes > 0 ? classes : null;
  return { name: output.name, ...activation, classCount, rank: dims.length === 1 ? 1 : 2 };
}

function chooseOutput(
  { outputs }: GraphView,
  flag: string | null,
  problems: string[],
): ValueView | null {
  const names = outputs.map(({ name }) => name).join(', ');
  if (flag !== null) {
    const named = outputs.find(({ name }) => name === flag);
    if (named === undefined)
      problems.push(`--output ${flag}: the graph has no such output: give one of ${names}`);
    return named ?? null;
  }
  const [only, ...others] = outputs;
  if (only !== undefined && others.length === 0) return only;
  const known = CLASS_OUTPUTS.map((name) => outputs.find((output) => output.name === name)).find(
    (output) => output !== undefined,
  );
  if (known !== undefined) return known;
  problems.push(
    only === undefined
      ? 'the graph has no output'
      : `the graph has ${outputs.length} outputs (${names}): give the one with the classes, such as --output ${only.name}`,
  );
  return null;
}

function findActivation(
  graph: GraphView,
  name: string,
  classes: number | string | null,
  config: SourceConfig | null,
  flag: Activation | null,
  problems: string[],
): Pick<FoundOutput, 'kind' | 'activation' | 'activationFrom'> | null {
  const last = graph.lastOperators.get(name) ?? '';
  const inGraph = last === 'Softmax' ? 'softmax' : last === 'Sigmoid' ? 'sigmoid' : null;
  if (inGraph !== null) {
    if (flag !== null && flag !== 'none' && flag !== inGraph) {
      problems.push(
        `--activation ${flag}: the graph already ends in ${last}: leave out --activation`,
      );
      return null;
    }
    return {
      kind: 'probabilities',
      activation: inGraph,
      activationFrom: `the graph ends in ${last}`,
    };
  }
  if (flag === 'none')
    return { kind: 'probabilities', activation: 'none', activationFrom: '--activation' };
  if (flag !== null) return { kind: 'logits', activation: flag, activationFrom: '--activation' };
  if (classes === 1)
    return { kind: 'logits', activation: 'sigmoid', activationFrom: 'a single output' };
  if (config?.activation)
    return { kind: 'logits', activation: config.activation, activationFrom: 'config.json' };
  return {
    kind: 'logits',
    activation: 'softmax',
    activationFrom: 'assumed; --activation overrides it',
  };
}
