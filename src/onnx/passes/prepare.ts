/**
 * Makes an exported classifier into what vitserve serves: uint8 pixels in, probabilities and the
 * embedding out.
 *
 * PASSES lists the steps in order, each in a file of its own. The result is plain ONNX that any
 * runtime runs. Answers are those of the original up to the rounding of float32. Costs a copy of
 * the graph without its weights, and of the patch embedding's.
 */
import { SetupError } from '../../errors.js';
import { checkGraph } from '../graph/check.js';
import { describeGraph, opsetVersion } from '../graph/graph.js';
import { DataType, type ModelProto } from '../proto/model-proto.js';
import { makeBatchDynamic } from './dynamic-batch.js';
import { prune, renameValue } from './edit.js';
import { outputEmbedding } from './embedding-output.js';
import { type CheckedInput, GraphRewrite, type Pass, type PrepareOptions } from './pass.js';
import { inputPixels } from './pixel-input.js';
import { outputProbabilities } from './probability-output.js';
import { selectTokenEarly } from './select-token-early.js';

export type { PrepareOptions } from './pass.js';

export interface PreparedGraph {
  /**
   * Input uint8 `[batch, height, width, 3]`, output float32 `[batch, classes]`, second output
   * float32 `[batch, embeddingSize]`.
   */
  readonly model: ModelProto;
  readonly inputName: string;
  readonly outputName: string;
  /** Null where there is no such output. */
  readonly embeddingName: string | null;
  readonly embeddingSize: number | null;
  /**
   * Whether the normalization went into the weights of the patch embedding (otherwise two nodes in
   * front do it).
   */
  readonly foldedNormalization: boolean;
  /** The batch size that the graph is fixed to, or null where it takes any. */
  readonly fixedBatch: number | null;
  /** What was done and what was impossible, for people. */
  readonly notes: readonly string[];
}

/**
 * The order matters: the embedding is found by going back from the answer, and the answer's shape
 * follows from the pixels as they came.
 */
const PASSES: readonly Pass[] = [
  keepOneOutput,
  reserveNames,
  makeBatchDynamic,
  selectTokenEarly,
  outputEmbedding,
  outputProbabilities,
  inputPixels,
  ({ graph }) => prune(graph),
];

/**
 * Rewrites a graph; the given model stays as it was. Throws SetupError that names node or tensor,
 * reason and remedy.
 */
export function prepareGraph(model: ModelProto, options: PrepareOptions): PreparedGraph {
  const input = checkedInput(model, options);
  const declaredAnswer = describeGraph(model).outputs.find(
    ({ name }) => name === options.output.name,
  );
  checkOutput(model, options);
  const rewrite = new GraphRewrite(model, options, input, declaredAnswer);
  for (const pass of PASSES) pass(rewrite);
  const problems = checkGraph(rewrite.model);
  if (problems.length > 0) throw new Error(`the prepared graph is invalid: ${problems.join('; ')}`);
  const { names, embeddingSize, foldedNormalization, fixedBatch, notes } = rewrite;
  return {
    model: rewrite.model,
    inputName: names.input,
    outputName: names.output,
    embeddingName: embeddingSize === null ? null : names.embedding,
    embeddingSize,
    foldedNormalization,
    fixedBatch,
    notes,
  };
}

/**
 * Keeps one output, and the nodes and types that it needs; the types of values in between may still
 * have the old batch size.
 */
function keepOneOutput({ graph, answer, notes }: GraphRewrite): void {
  const others = graph.output.filter(({ name }) => name !== answer).map(({ name }) => `"${name}"`);
  if (others.length > 0) notes.push(`other outputs were removed: ${others.join(', ')}`);
  graph.output = graph.output.filter(({ name }) => name === answer);
  graph.valueInfo = [];
  prune(graph);
}

/** Frees the names that the prepared graph will use: values that have them are renamed. */
function reserveNames(rewrite: GraphRewrite): void {
  for (const name of Object.values(rewrite.names)) {
    const other = rewrite.uniqueName(`${name}_before`);
    renameValue(rewrite.graph, name, other);
    if (rewrite.pixels === name) rewrite.pixels = other;
    if (rewrite.answer === name) rewrite.answer = other;
  }
}

const INPUT_TYPES: readonly number[] = [DataType.FLOAT, DataType.FLOAT16, DataType.UINT8];

/** The graph's input as the options describe it, if the graph agrees. */
function checkedInput(model: ModelProto, { input, normalization }: PrepareOptions): CheckedInput {
  const { inputs } = describeGraph(model);
  const problems = checkGraph(model);
  const given = inputs.find(({ name }) => name === input.name);
  const { height, width } = input;
  const expected = input.layout === 'NCHW' ? [3, height, width] : [height, width, 3];
  if (given === undefined) {
    problems.push(
      `the graph has no input "${input.name}": its inputs are ` +
        `${inputs.map(({ name }) => `"${name}"`).join(', ')}`,
    );
  } else {
    const wrong = (problem: string) => problems.push(`input "${given.name}" ${problem}`);
    const isFit =
      given.dims?.length === 4 && expected.every((size, at) => fits(given.dims?.[at + 1], size));
    if (given.dims !== null && !isFit) {
      wrong(
        `is [${shown(given.dims)}], but ${input.layout} pixels of ${height} × ${width} are [batch, ${expected.join(', ')}]`,
      );
    }
    if (!INPUT_TYPES.includes(given.dataType)) {
      wrong(`is ${given.typeName}: export the graph with float32, float16 or uint8 pixels`);
    }
    if (given.dataType === DataType.UINT8 && normalization !== null) {
      wrong('takes uint8, but normalized pixels are floats: the graph must normalize them itself');
    }
  }
  const others = inputs.filter(({ name }) => name !== input.name).map(({ name }) => `"${name}"`);
  if (given !== undefined && others.length > 0) {
    problems.push(
      `the graph takes more than pixels (${others.join(', ')}): export it with the image as its only input`,
    );
  }
  if ((opsetVersion(model) ?? 0) < 7)
    problems.push('the graph uses an operator set before 7: export it again with a later one');
  if (problems.length > 0) throw new SetupError('environment', problems);
  const first = given?.dims?.[0];
  const fixedBatch = typeof first === 'number' ? first : null;
  return { dataType: given?.dataType ?? 0, dims: [fixedBatch ?? 1, ...expected], fixedBatch };
}

function fits(given: number | string | null | undefined, size: number): boolean {
  return given === size || typeof given === 'string' || given === null;
}

function shown(dims: readonly (number | string | null)[]): string {
  return dims.map((size) => size ?? '?').join(', ');
}

function checkOutput(model: ModelProto, { output }: PrepareOptions): void {
  const { outputs } = describeGraph(model);
  if (outputs.some(({ name }) => name === output.name)) return;
  throw new SetupError('environment', [
    `the graph has no output "${output.name}": ` +
      `its outputs are ${outputs.map(({ name }) => `"${name}"`).join(', ')}`,
  ]);
}
