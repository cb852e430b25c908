/**
 * Checks an import: compares the model as it will be served with the original graph, on the same
 * pixels.
 *
 * The original is fed as its own library would feed it, normalised in floats, image by image; the
 * other side is the server's own session over the written manifest. So a wrong fold, layout,
 * activation or name shows here and not in production. Costs two loads of the graph and about three
 * executions an image, on one thread.
 */
import { SetupError } from '../../errors.js';
import type { Manifest } from '../../models/manifest.js';
import type { RecognizedModel } from '../../models/sources/recognize.js';
import { narrowToFloat16, widenFloat16 } from '../../onnx/proto/float16.js';
import { xorshift32 } from '../../onnx/vit/xorshift.js';
import { activate } from '../../workers/inference/activation.js';
import { createNormalizer } from '../../workers/inference/normalize.js';
import { loadOnnxSession } from '../../workers/inference/onnx-session.js';
import {
  openGraph,
  type RawTensor,
  type RunnableGraph,
} from '../../workers/inference/run-graph.js';
import type { Session } from '../../workers/inference/session.js';

/**
 * Relative changes of a value: from two steps of float32 up to the difference that a sum of some
 * hundred products (a patch) may show when they are scaled before or after. Each is tried twice.
 */
const NUDGES = [2 ** -22, 2 ** -21, 2 ** -20, 2 ** -19, 2 ** -22, 2 ** -21, 2 ** -20, 2 ** -19];

export interface OriginalModel {
  readonly path: string;
  readonly recognized: RecognizedModel;
  /** The batch size that the graph is fixed to, or null. */
  readonly fixedBatch: number | null;
}

type Move = (values: Float32Array) => Float32Array;

/** The original as its own library would run it. */
export interface OriginalGraph extends OriginalModel {
  /**
   * Probabilities of one image, uint8 `[height, width, 3]`; `move` changes the normalised values.
   * Throws SetupError if onnxruntime can't run the graph.
   */
  answer(pixels: Uint8Array, move?: Move): Promise<Float32Array>;
  close(): Promise<void>;
}

export interface Comparison {
  readonly images: number;
  /** Largest difference of a probability, over all images and classes. */
  readonly maxDifference: number;
  readonly sameTop1: number;
}

export async function openOriginal(model: OriginalModel): Promise<OriginalGraph> {
  const graph = await openGraph(model.path);
  const feed = createFeed(model);
  return {
    ...model,
    answer: (pixels, move) => expectedProbabilities(model, graph, feed(pixels, move)),
    close: () => graph.close(),
  };
}

/**
 * Throws SetupError unless the graph answers as many classes as there are labels, whatever its
 * shapes say.
 */
export async function checkClassCount({ path, recognized, answer }: OriginalGraph): Promise<void> {
  const { labels, input } = recognized;
  const { length } = await answer(new Uint8Array(input.size.height * input.size.width * 3));
  if (length === labels.length) return;
  throw new SetupError('usage', [
    `${path}: the graph has ${length} classes, but there are ${labels.length} labels: give the right labels with --labels FILE`,
  ]);
}

/** `pixels`: uint8 `[height, width, 3]` each. */
export async function compareWithOriginal(
  original: OriginalGraph,
  served: Session,
  pixels: readonly Uint8Array[],
): Promise<Comparison> {
  let maxDifference = 0;
  let sameTop1 = 0;
  for (const image of pixels) {
    const expected = await original.answer(image);
    const { scores } = await run(served, image, 1);
    maxDifference = Math.max(maxDifference, largestDifference(expected, scores));
    if (indexOfLargest(expected) === indexOfLargest(scores)) sameTop1++;
  }
  return { images: pixels.length, maxDifference, sameTop1 };
}

/**
 * How far the original's own probabilities change when the last bits of its input change. In a
 * graph that quantises its input dynamically a value can lie just between two steps, so two correct
 * ways of normalising give answers this far apart. Few values lie so near, so an answer changes by
 * nothing or by a step, and it takes several nudges to see a step. Stops at a change of at least
 * `enough`.
 */
export async function sensitivityOf(
  original: OriginalGraph,
  pixels: readonly Uint8Array[],
  enough: number,
): Promise<number> {
  const answers: Float32Array[] = [];
  for (const image of pixels) answers.push(await original.answer(image));
  let largest = 0;
  for (const [index, nudge] of NUDGES.entries()) {
    for (const [at, image] of pixels.entries()) {
      const moved = await original.answer(image, nudgedBy(nudge, index + 1));
      largest = Math.max(largest, largestDifference(answers[at] as Float32Array, moved));
      if (largest >= enough) return largest;
    }
  }
  return largest;
}

/**
 * Up or down at random, the same in every run: dynamic quantisation would cancel a mere change of
 * scale, and alternating signs would cancel each other in a picture's even parts.
 */
function nudgedBy(part: number, seed: number): Move {
  return (values) => {
    let state = Math.imul(seed, 0x9e3779b9);
    return values.map((value) => {
      state = xorshift32(state);
      return value * (state < 0 ? 1 - part : 1 + part);
    });
  };
}

/** NaN on one side counts as the largest difference. */
function largestDifference(some: Float32Array, others: Float32Array): number {
  const differences = Array.from(some, (value, index) =>
    Math.abs(value - (others[index] as number)),
  );
  return differences.some(Number.isNaN) ? Number.POSITIVE_INFINITY : Math.max(0, ...differences);
}

/**
 * Whether each image's answer is the same alone and among the others, as the manifest says: bit by
 * bit with a tolerance of 0, else in its probabilities. The tolerance is for float16, whose kernels
 * round differently at other sizes.
 */
export async function batchInvariance(
  served: Session,
  pixels: readonly Uint8Array[],
  tolerance: number,
): Promise<Manifest['batchInvariant']> {
  const together = await run(served, new Uint8Array(Buffer.concat(pixels)), pixels.length);
  for (const [index, image] of pixels.entries()) {
    const alone = await run(served, image, 1);
    const row = (whole: Float32Array, { length }: Float32Array) =>
      whole.subarray(index * length, (index + 1) * length);
    const scores = row(together.scores, alone.scores);
    if (tolerance > 0) {
      if (
        alone.scores.some((score, at) => !(Math.abs(score - (scores[at] as number)) <= tolerance))
      )
        return false;
      continue;
    }
    if (!bytesOf(scores).equals(bytesOf(alone.scores))) return false;
    if (alone.embeddings === null || together.embeddings === null) continue;
    if (!bytesOf(row(together.embeddings, alone.embeddings)).equals(bytesOf(alone.embeddings)))
      return false;
  }
  return tolerance > 0 ? 'accelerator' : true;
}

/** The server's own session over a graph and its manifest. */
export async function openServed(graphPath: string, manifest: Manifest): Promise<Session> {
  return (await loadOnnxSession({ graphPath, manifest, provider: 'cpu', threads: 1 })).session;
}

/** Copies, because a session's output is only valid until its next run. */
async function run(session: Session, pixels: Uint8Array, images: number) {
  const { scores, embeddings } = await session.run(pixels, images);
  return { scores: scores.slice(), embeddings: embeddings === null ? null : embeddings.slice() };
}

/** One image as the original graph takes it, repeated if the graph takes several. */
function createFeed({
  recognized,
  fixedBatch,
}: OriginalModel): (pixels: Uint8Array, move?: Move) => RawTensor {
  const { input, recipe } = recognized;
  const { layout, typeName } = input;
  const { height, width } = input.size;
  // A recipe that changes no value converts uint8 into another layout.
  const identity = { ...recipe, rescale: 1, mean: [0, 0, 0], std: [1, 1, 1] } as const;
  const normalize = createNormalizer(typeName === 'uint8' ? identity : recipe, {
    layout,
    height,
    width,
  });
  const images = fixedBatch ?? 1;
  const dims = layout === 'NHWC' ? [images, height, width, 3] : [images, 3, height, width];
  const encode = {
    float32: (values: Float32Array) => bytesOf(values),
    float16: (values: Float32Array) => narrowToFloat16(values),
    uint8: (values: Float32Array) => Uint8Array.from(values),
  }[typeName];
  return (pixels, move = (values) => values) => {
    const one = encode(move(normalize(pixels, 1)));
    // An array of its own: views of the normaliser's memory are reused, and onnxruntime needs
    // aligned ones.
    return { type: typeName, dims, bytes: new Uint8Array(Buffer.concat(Array(images).fill(one))) };
  };
}

async function expectedProbabilities(
  { path, recognized }: OriginalModel,
  graph: RunnableGraph,
  feed: RawTensor,
): Promise<Float32Array> {
  const { input, output, binaryClasses } = recognized;
  const results = await graph.run({ [input.name]: feed }, [output.name]).catch((error: unknown) => {
    const [line = ''] = String(error instanceof Error ? error.message : error).split('\n');
    throw new SetupError('environment', [
      `${path}: onnxruntime can't run it (${line.slice(0, 300)})`,
    ]);
  });
  const tensor = results.get(output.name) as RawTensor;
  const values =
    tensor.type === 'float16'
      ? widenFloat16(tensor.bytes)
      : new Float32Array(new Uint8Array(tensor.bytes).buffer);
  const classes = values.length / (feed.dims[0] as number);
  const scores = values.slice(0, classes);
  if (output.kind === 'logits') activate(scores, 1, classes, output.activation);
  if (binaryClasses === 'one') return scores;
  const [probability = 0] = scores;
  return Float32Array.of(1 - probability, probability);
}

function bytesOf(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

function indexOfLargest(values: Float32Array): number {
  return values.reduce(
    (best, value, index) => (value > (values[best] as number) ? index : best),
    0,
  );
}
