/**
 * The outputs of a prepared graph: float32 `[batch, classes]`, and float32 `[batch, size]` for the representation.
 */
import { SetupError } from '../../errors.js';
import { type AttributeValue, int, nodeOf, valueInfoOf } from '../graph/build.js';
import { indexGraph, nodeLabel, type ValueDescription } from '../graph/graph.js';
import type { InferredShapes } from '../graph/shapes.js';
import { DataType, type GraphProto } from '../proto/model-proto.js';
import { elementCountOf, float32Tensor, int64Tensor, typeNameOf } from '../proto/tensors.js';
import { renameValue } from './edit.js';
import type { Embedding } from './find-embedding.js';

/** The graph that is being rewritten, and what is known of it. */
export interface RewritePlace {
  readonly graph: GraphProto;
  /** Of the graph before its input was rewritten, with one image or as many as it is fixed to. */
  readonly shapes: InferredShapes;
  readonly batch: number | string;
  readonly uniqueName: (wanted: string) => string;
  readonly notes: string[];
}

export interface Answer {
  /** The value that the graph answers with, and the name that its answer gets. */
  readonly value: string;
  readonly name: string;
  /** The output as the original graph declares it. */
  readonly declared: ValueDescription | undefined;
  readonly options: {
    readonly activation: 'softmax' | 'sigmoid' | 'none';
    readonly kind: 'logits' | 'probabilities';
    readonly binaryClasses?: 'one' | 'two';
  };
}

const FLOATS: readonly number[] = [DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE, DataType.BFLOAT16];

/** A value with nodes put after it, one after another. */
class Chain {
  readonly #place: RewritePlace;
  readonly #start: string;
  last: string;

  constructor(place: RewritePlace, value: string) {
    this.#place = place;
    this.#start = value;
    this.last = value;
  }

  append(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, AttributeValue>> = {}): void {
    const output = this.#place.uniqueName(`${this.#start}_${opType.toLowerCase()}`);
    this.#place.graph.node.push(nodeOf(opType, inputs, [output], { attributes }));
    this.last = output;
  }

  /** Ends the chain in an output of that name. */
  finish(name: string, dims: readonly (number | string | null)[]): void {
    const { graph, uniqueName } = this.#place;
    const isMade = indexGraph(graph).producerOf(this.last) !== undefined;
    const isOutput = graph.output.some((output) => output.name === this.last);
    if (isMade && !isOutput) renameValue(graph, this.last, name);
    else graph.node.push(nodeOf('Identity', [this.last], [name], { name: uniqueName(`${name}_output`) }));
    graph.output.push(valueInfoOf(name, DataType.FLOAT, dims));
  }
}

/** Makes the value a graph's only output, as probabilities where it is logits. Throws SetupError for what is no classifier's. */
export function rewriteOutput(place: RewritePlace, { value, name, declared, options }: Answer): void {
  const known = place.shapes.valueOf(value);
  // What the exporter declares comes from having run the model.
  const dims = declared?.dims ?? known?.dims ?? null;
  const dataType = declared?.dataType || (known?.dataType ?? DataType.FLOAT);
  const { activation, kind } = options;
  const problems = problemsOf(place, value, dims, dataType, options);
  if (problems.length > 0) {
    throw new SetupError(
      'environment',
      problems.map((problem) => `output "${declared?.name ?? value}" ${problem}`),
    );
  }
  if (dims === null)
    place.notes.push(`the shape of "${declared?.name ?? value}" is not known: [batch, classes] is assumed`);
  place.graph.output = [];
  const chain = new Chain(place, value);
  if (dims?.length === 1) {
    const shape = int64Tensor(place.uniqueName(`${value}_shape`), [2], [-1, 1]);
    place.graph.initializer.push(shape);
    chain.append('Reshape', [chain.last, shape.name]);
  } else if (dims !== null && dims.length > 2) chain.append('Flatten', [chain.last], { axis: int(1) });
  if (dataType !== DataType.FLOAT) chain.append('Cast', [chain.last], { to: int(DataType.FLOAT) });
  if (kind === 'logits' && activation === 'softmax') chain.append('Softmax', [chain.last], { axis: int(1) });
  if (kind === 'logits' && activation === 'sigmoid') chain.append('Sigmoid', [chain.last]);
  const declaredClasses = dims?.length === 1 ? 1 : dims?.[1];
  let classes = typeof declaredClasses === 'number' ? declaredClasses : (known?.dims?.[1] ?? null);
  if (options.binaryClasses === 'two') {
    const one = float32Tensor(place.uniqueName('one'), [1], [1]);
    place.graph.initializer.push(one);
    const probability = chain.last;
    chain.append('Sub', [one.name, probability]);
    chain.append('Concat', [chain.last, probability], { axis: int(1) });
    classes = 2;
    place.notes.push('the one probability p is answered as two classes, (1 − p, p)');
  }
  chain.finish(name, [place.batch, classes]);
}

function problemsOf(
  { graph, batch }: RewritePlace,
  value: string,
  dims: readonly (number | string | null)[] | null,
  dataType: number,
  { activation, kind, binaryClasses }: Answer['options'],
): string[] {
  const problems: string[] = [];
  if (!FLOATS.includes(dataType)) {
    problems.push(`is ${typeNameOf(dataType)}: name an output of floating-point numbers, one a class`);
  }
  const shape = dims?.map((size) => size ?? '?').join(', ');
  const index = indexGraph(graph);
  const last = index.producerOf(value);
  if (kind === 'logits' && (last?.opType === 'Softmax' || (last?.opType === 'Sigmoid' && activation !== 'none'))) {
    problems.push(`is made by node ${nodeLabel(last)}, so these are probabilities already: say so instead of logits`);
  }
  if (dims === null) return problems;
  const [first, classes] = dims;
  const images = typeof batch === 'number' ? batch : 1;
  if (
    dims.length === 0 ||
    dims.slice(2).some((size) => size !== 1) ||
    (dims.length === 1 && typeof first === 'number' && first !== images)
  ) {
    problems.push(`is [${shape}], and a classifier answers with [batch, classes]`);
  } else if (dims.length === 1 && activation === 'softmax' && kind === 'logits') {
    problems.push(`is [batch], one number an image, of which softmax would make 1: its activation must be sigmoid`);
  }
  if (binaryClasses === 'two' && dims.length > 1 && classes !== 1) {
    problems.push(`is [${shape}], which can't become two classes: only one probability can`);
  }
  return problems;
}

/** Adds the representation as an output, if it was found and its shape is sound. Its size, or null. */
export function addEmbedding(place: RewritePlace, embedding: Embedding | string, name: string): number | null {
  const without = (reason: string) => {
    place.notes.push(`no embedding: ${reason}`);
    return null;
  };
  if (typeof embedding === 'string') return without(embedding);
  const { value, size, dataType, isMatrix } = embedding;
  const images = typeof place.batch === 'number' ? place.batch : 1;
  const dims = isMatrix ? [images, size] : (place.shapes.valueOf(value)?.dims ?? null);
  if (dims === null) return without(`the shape of "${value}" before the last linear layer is not known`);
  if (elementCountOf(dims) !== images * size) {
    return without(`"${value}" before the last linear layer is [${dims}], which is not one vector an image`);
  }
  const chain = new Chain(place, value);
  if (dims.length !== 2) {
    const shape = int64Tensor(place.uniqueName(`${value}_shape`), [2], [-1, size]);
    place.graph.initializer.push(shape);
    chain.append('Reshape', [chain.last, shape.name]);
  }
  if (dataType !== DataType.FLOAT) chain.append('Cast', [chain.last], { to: int(DataType.FLOAT) });
  chain.finish(name, [place.batch, size]);
  return size;
}
