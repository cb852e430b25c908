/**
 * An exported classifier made into what vitserve serves: uint8 pixels in, probabilities and the representation out.
 *
 * The steps, each in a file of its own under prepare/: the batch is made free where it is fixed, the last block is computed for
 * the token that the head takes, the pixels come in as uint8 NHWC with the normalization in the graph, the answer goes out as
 * float32 probabilities, and what the last linear layer takes goes out beside it. The result is plain ONNX that any runtime
 * runs. Answers are those of the original up to the rounding of float32. Costs a copy of the graph without its weights, and
 * of the patch embedding's.
 */
import { SetupError } from '../../errors.js';
import { checkGraph } from '../graph/check.js';
import { describeGraph, indexGraph, opsetVersion, uniqueNames } from '../graph/graph.js';
import { inferShapes } from '../graph/shapes.js';
import { DataType, type GraphProto, type ModelProto } from '../proto/model-proto.js';
import { addEmbedding, rewriteOutput } from './answer-output.js';
import { editableCopy, prune, renameValue } from './edit.js';
import { findEmbedding } from './find-embedding.js';
import { freeBatch } from './free-batch.js';
import { rewriteInput } from './pixel-input.js';
import { chooseTokenEarly } from './seen-tokens.js';

export interface PrepareOptions {
  /** The graph's pixel input as it is: `[batch, 3, height, width]` or `[batch, height, width, 3]`, float32, float16 or uint8. */
  readonly input: {
    readonly name: string;
    readonly layout: 'NCHW' | 'NHWC';
    readonly height: number;
    readonly width: number;
  };
  /** (pixel × rescale − mean) / std, put into the graph; null: the graph takes pixels of 0 to 255 as they are. */
  readonly normalization: {
    readonly rescale: number;
    readonly mean: readonly number[];
    readonly std: readonly number[];
  } | null;
  readonly output: {
    readonly name: string;
    readonly activation: 'softmax' | 'sigmoid' | 'none';
    /** What the graph answers with now. `logits`: the activation is appended. */
    readonly kind: 'logits' | 'probabilities';
    /**
     * For a graph with one sigmoid output (`[batch]` or `[batch, 1]`): `one` (default) answers `[batch, 1]`, `two` answers
     * `[batch, 2]`, the class that the output stands for last: (1 − p, p).
     */
    readonly binaryClasses?: 'one' | 'two';
  };
  /** `find`: the input of the final classifier becomes an output, where it can be told; a note says so where it can't. */
  readonly embedding: 'find' | 'none';
  /** Default `pixels`. */
  readonly inputName?: string;
  /** Default `probabilities`, or `logits` where they are logits with activation `none`. */
  readonly outputName?: string;
  /** Default `embedding`. */
  readonly embeddingName?: string;
}

export interface PreparedGraph {
  /** Input uint8 `[batch, height, width, 3]`, output float32 `[batch, classes]`, second output float32 `[batch, embeddingSize]`. */
  readonly model: ModelProto;
  readonly inputName: string;
  readonly outputName: string;
  /** Null where there is no such output. */
  readonly embeddingName: string | null;
  readonly embeddingSize: number | null;
  /** Whether the normalization went into the weights of the patch embedding (otherwise two nodes in front do it). */
  readonly foldedNormalization: boolean;
  /** The batch size that the graph is fixed to, or null where it takes any. */
  readonly fixedBatch: number | null;
  /** What was done and what could not be, for people. */
  readonly notes: readonly string[];
}

/** Rewrites a graph; the given model is left as it was. Throws SetupError, naming node or tensor, reason and remedy. */
export function prepareGraph(model: ModelProto, options: PrepareOptions): PreparedGraph {
  const input = checkedInput(model, options);
  checkOutput(model, options);
  const notes: string[] = [];
  const { activation, kind } = options.output;
  const inputName = options.inputName ?? 'pixels';
  const outputName = options.outputName ?? (kind === 'logits' && activation === 'none' ? 'logits' : 'probabilities');
  const embeddingName = options.embeddingName ?? 'embedding';

  const edited = editableCopy(model);
  onlyOutput(edited.graph, options.output.name, notes);
  const uniqueName = uniqueNames(edited.graph);
  const names = freeNames(edited.graph, [inputName, outputName, embeddingName], uniqueName);
  const pixels = names.get(options.input.name) ?? options.input.name;
  const answer = names.get(options.output.name) ?? options.output.name;

  const { free, fixedBatch } = withFreeBatch(edited, { ...input, name: pixels }, answer, uniqueName, notes);
  const { graph } = free;
  const dims = [fixedBatch ?? 1, ...input.dims.slice(1)];
  if (chooseTokenEarly(free, opsetVersion(free) ?? 0, { name: pixels, dims }, uniqueName)) {
    notes.push('the last block is computed for the one token that the head takes');
  }
  const shapes = inferShapes(free, { [pixels]: dims });
  const declared = describeGraph(model).outputs.find(({ name }) => name === options.output.name);
  const outputRank = declared?.dims?.length;
  const embedding = options.embedding === 'find' ? findEmbedding(indexGraph(graph), answer, outputRank) : null;
  const batch = fixedBatch ?? 'batch';
  const foldedNormalization = rewriteInput(
    graph,
    {
      ...options.input,
      value: pixels,
      name: inputName,
      dataType: input.dataType,
      batch,
      normalization: options.normalization,
    },
    uniqueName,
    notes,
  );
  const place = { graph, shapes, batch, uniqueName, notes };
  rewriteOutput(place, { value: answer, name: outputName, declared, options: options.output });
  const embeddingSize = embedding === null ? null : addEmbedding(place, embedding, embeddingName);
  prune(graph);
  const problems = checkGraph(free);
  if (problems.length > 0) throw new Error(`the prepared graph does not hang together: ${problems.join('; ')}`);
  return {
    model: free,
    inputName,
    outputName,
    embeddingName: embeddingSize === null ? null : embeddingName,
    embeddingSize,
    foldedNormalization,
    fixedBatch,
    notes,
  };
}

interface CheckedInput {
  readonly dataType: number;
  /** With the batch size that the graph is fixed to; 1 where it is not. */
  readonly dims: readonly number[];
  readonly fixedBatch: number | null;
}

const INPUT_TYPES: readonly number[] = [DataType.FLOAT, DataType.FLOAT16, DataType.UINT8];

/** The graph's input as it was described, if the graph agrees. */
function checkedInput(model: ModelProto, { input, normalization }: PrepareOptions): CheckedInput {
  const { inputs } = describeGraph(model);
  const problems = checkGraph(model);
  const given = inputs.find(({ name }) => name === input.name);
  const { height, width } = input;
  const expected = input.layout === 'NCHW' ? [3, height, width] : [height, width, 3];
  if (given === undefined) {
    problems.push(
      `the graph has no input "${input.name}": its inputs are ${inputs.map(({ name }) => `"${name}"`).join(', ')}`,
    );
  } else {
    const wrong = (problem: string) => problems.push(`input "${given.name}" ${problem}`);
    const isFit = given.dims?.length === 4 && expected.every((size, at) => fits(given.dims?.[at + 1], size));
    if (given.dims !== null && !isFit) {
      wrong(
        `is [${shown(given.dims)}], and ${input.layout} pixels of ${height} × ${width} are [batch, ${expected.join(', ')}]`,
      );
    }
    if (!INPUT_TYPES.includes(given.dataType)) {
      wrong(`is ${given.typeName}: export the graph with float32, float16 or uint8 pixels`);
    }
    if (given.dataType === DataType.UINT8 && normalization !== null) {
      wrong('takes uint8, which normalised pixels are not: the graph must normalise them itself');
    }
  }
  const others = inputs.filter(({ name }) => name !== input.name).map(({ name }) => `"${name}"`);
  if (given !== undefined && others.length > 0) {
    problems.push(
      `the graph takes more than pixels (${others.join(', ')}): export it with the picture as its only input`,
    );
  }
  if ((opsetVersion(model) ?? 0) < 7) problems.push('the graph is of an operator set before 7: export it anew');
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
    `the graph has no output "${output.name}": its outputs are ${outputs.map(({ name }) => `"${name}"`).join(', ')}`,
  ]);
}

/** Leaves one output, and the nodes and types that it needs; types of values between may speak of the old batch. */
function onlyOutput(graph: GraphProto, name: string, notes: string[]): void {
  const others = graph.output.filter((output) => output.name !== name).map((output) => `"${output.name}"`);
  if (others.length > 0) notes.push(`other outputs were left out: ${others.join(', ')}`);
  graph.output = graph.output.filter((output) => output.name === name);
  graph.valueInfo = [];
  prune(graph);
}

/** Makes names free that the prepared graph will use; values that had them get others. */
function freeNames(
  graph: GraphProto,
  names: readonly string[],
  uniqueName: (wanted: string) => string,
): ReadonlyMap<string, string> {
  const renamed = new Map<string, string>();
  for (const name of names) {
    const other = uniqueName(`${name}_before`);
    renameValue(graph, name, other);
    renamed.set(name, other);
  }
  return renamed;
}

function withFreeBatch(
  model: ModelProto,
  input: CheckedInput & { readonly name: string },
  output: string,
  uniqueName: (wanted: string) => string,
  notes: string[],
): { readonly free: ModelProto; readonly fixedBatch: number | null } {
  if (input.fixedBatch === null) return { free: model, fixedBatch: null };
  const free = freeBatch(model, input, output, uniqueName);
  if (typeof free !== 'string') {
    notes.push(`the graph was exported for a batch of ${input.fixedBatch} and takes any now`);
    return { free, fixedBatch: null };
  }
  notes.push(`the graph takes batches of ${input.fixedBatch} only: ${free}; export it with a symbolic batch axis`);
  return { free: model, fixedBatch: input.fixedBatch };
}
