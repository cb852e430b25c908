/**
 * Makes a graph that was exported for one batch size take any.
 *
 * Little ties such a graph to its size: the shapes that Reshape and Expand change to, constant or
 * computed from constants, and the class token, a constant of one row in a Concat. Both are
 * rewritten if the batch can be followed through the whole graph (batch-axes.ts): a Reshape gets -1
 * at the batch's axis and keeps its other sizes, and the class token is expanded to the batch that
 * comes in. The result is then checked with three times the images: every value must have three
 * times the size along its batch's axis and the same size along the others. Otherwise the graph
 * stays as it was.
 */
import { int, nodeOf } from '../graph/build.js';
import { indexGraph, nodeLabel } from '../graph/graph.js';
import { inferShapes } from '../graph/shapes.js';
import type { ModelProto, NodeProto } from '../proto/model-proto.js';
import { int64Tensor } from '../proto/tensors.js';
import { batchAxisAfter, type Place } from './batch-axes.js';
import { editableCopy } from './edit.js';
import type { GraphRewrite } from './pass.js';

export function makeBatchDynamic(rewrite: GraphRewrite): void {
  const { fixedBatch } = rewrite;
  if (fixedBatch === null) return;
  const dynamic = dynamicModel(rewrite);
  if (typeof dynamic === 'string') {
    rewrite.note(
      `the graph takes batches of ${fixedBatch} only, because ${dynamic}: export it with a symbolic batch axis`,
    );
    return;
  }
  rewrite.note(`the graph was exported for a batch of ${fixedBatch} and now takes any size`);
  rewrite.model = dynamic;
  rewrite.fixedBatch = null;
  rewrite.pixelDims = [1, ...rewrite.pixelDims.slice(1)];
}

/** The graph for any batch, or why it stays fixed. */
function dynamicModel({
  model,
  pixels,
  pixelDims,
  answer,
  uniqueName,
}: GraphRewrite): ModelProto | string {
  const dynamic = editableCopy(model);
  const input = { name: pixels, dims: pixelDims };
  const axes = new BatchRewrite(dynamic, input, uniqueName).run();
  if (typeof axes === 'string') return axes;
  if (axes.get(answer) !== 0)
    return `the images of a batch can't be followed to the output "${answer}"`;
  return mismatch(model, dynamic, input, axes) ?? dynamic;
}

class BatchRewrite {
  readonly #model: ModelProto;
  readonly #input: { readonly name: string; readonly dims: readonly number[] };
  readonly #uniqueName: (wanted: string) => string;
  readonly #dimsOf: (value: string) => readonly number[] | null;
  readonly #axes = new Map<string, number>();
  readonly #nodes: NodeProto[] = [];
  /** The one-element value that holds the number of images, once it is needed. */
  #batchSize: string | null = null;

  constructor(
    model: ModelProto,
    input: { readonly name: string; readonly dims: readonly number[] },
    uniqueName: (wanted: string) => string,
  ) {
    this.#model = model;
    this.#input = input;
    this.#uniqueName = uniqueName;
    const shapes = inferShapes(model, { [input.name]: input.dims });
    this.#dimsOf = (value) => shapes.valueOf(value)?.dims ?? null;
  }

  /** The axis of the batch by value, or why the batch can't be followed. */
  run(): ReadonlyMap<string, number> | string {
    const { graph } = this.#model;
    const index = indexGraph(graph);
    this.#axes.set(this.#input.name, 0);
    for (const node of graph.node) {
      const axes = node.input.map((value) => this.#axes.get(value));
      if (axes.every((axis) => axis === undefined) || node.opType === 'Shape') {
        this.#nodes.push(node);
        continue;
      }
      const known = [...node.input.filter((value) => value !== ''), node.output[0] ?? ''].map(
        this.#dimsOf,
      );
      if (known.includes(null)) return `the shapes around node ${nodeLabel(node)} are unknown`;
      const place: Place = {
        node,
        index,
        axes,
        inputDims: node.input.map((value) => this.#dimsOf(value) ?? []),
        outputDims: this.#dimsOf(node.output[0] ?? '') ?? [],
      };
      const axis = this.#follow(place);
      if (axis === null) return `the batch can't be followed through node ${nodeLabel(node)}`;
      this.#nodes.push(node);
      // Scales over the whole batch have no axis.
      for (const value of node.output)
        if ((this.#dimsOf(value)?.length ?? 0) > axis) this.#axes.set(value, axis);
    }
    graph.node = this.#nodes;
    return this.#axes;
  }

  #follow(place: Place): number | null {
    switch (place.node.opType) {
      case 'Reshape':
        return this.#reshape(place);
      case 'Concat':
        return this.#concat(place);
      case 'Expand':
        return this.#expand(place);
      default:
        return batchAxisAfter(place);
    }
  }

  #reshape(place: Place): number | null {
    const axis = batchAxisAfter(place);
    const { node, outputDims } = place;
    if (axis === null || outputDims.includes(0)) return null;
    this.#setShape(
      node,
      outputDims.map((size, at) => (at === axis ? -1 : size)),
    );
    return axis;
  }

  #expand(place: Place): number | null {
    const { node, axes, inputDims, outputDims } = place;
    const [axis] = axes;
    if (axis === undefined) return null;
    const after = outputDims.length - (inputDims[0]?.length ?? 0) + axis;
    if (outputDims[after] !== inputDims[0]?.[axis]) return null;
    // 1 leaves a size as it is.
    this.#setShape(
      node,
      outputDims.map((size, at) => (at === after ? 1 : size)),
    );
    return after;
  }

  #concat({ node, axes, inputDims, outputDims }: Place): number | null {
    const joined = node.attribute.find(({ name }) => name === 'axis')?.i ?? 0;
    const axis = axes.find((one) => one !== undefined);
    if (axis === undefined || (Number(joined) + outputDims.length) % outputDims.length === axis)
      return null;
    if (axes.some((one) => one !== undefined && one !== axis)) return null;
    const constants = axes.flatMap((one, at) => (one === undefined ? [at] : []));
    if (constants.length === 0) return axis;
    // One row for every image. Several rows might differ.
    if (axis !== 0 || this.#input.dims[0] !== 1 || constants.some((at) => inputDims[at]?.[0] !== 1))
      return null;
    for (const at of constants) {
      const rest = (inputDims[at] ?? []).slice(1);
      node.input[at] = this.#spread(node.input[at] ?? '', rest);
    }
    return axis;
  }

  /** A constant `[1, …rest]` as `[batch, …rest]`. */
  #spread(constant: string, rest: readonly number[]): string {
    const shape = this.#uniqueName(`${constant}_shape`);
    const sizes = this.#constant(`${constant}_sizes`, rest);
    const spread = this.#uniqueName(`${constant}_batch`);
    this.#nodes.push(
      nodeOf('Concat', [this.#batch(), sizes], [shape], { attributes: { axis: int(0) } }),
      nodeOf('Expand', [constant, shape], [spread]),
    );
    return spread;
  }

  #batch(): string {
    if (this.#batchSize !== null) return this.#batchSize;
    const shape = this.#uniqueName(`${this.#input.name}_shape`);
    const first = this.#constant(`${this.#input.name}_batch_axis`, [0]);
    this.#batchSize = this.#uniqueName(`${this.#input.name}_batch_size`);
    this.#nodes.push(
      nodeOf('Shape', [this.#input.name], [shape]),
      nodeOf('Gather', [shape, first], [this.#batchSize], { attributes: { axis: int(0) } }),
    );
    return this.#batchSize;
  }

  /** Several nodes may share a constant of a shape, so each node gets its own. */
  #setShape(node: NodeProto, shape: readonly number[]): void {
    node.input = [node.input[0] ?? '', this.#constant(`${node.output[0] ?? ''}_shape`, shape)];
  }

  #constant(wanted: string, values: readonly number[]): string {
    const name = this.#uniqueName(wanted);
    this.#model.graph.initializer.push(int64Tensor(name, [values.length], values));
    return name;
  }
}

/** What is wrong with the sizes with three times the images; undefined if they are right. */
function mismatch(
  before: ModelProto,
  after: ModelProto,
  { name, dims }: { readonly name: string; readonly dims: readonly number[] },
  axes: ReadonlyMap<string, number>,
): string | undefined {
  const [batch = 1, ...rest] = dims;
  const old = inferShapes(before, { [name]: dims });
  const tripled = inferShapes(after, { [name]: [3 * batch, ...rest] });
  for (const [value, axis] of axes) {
    const expected = old.valueOf(value)?.dims?.map((size, at) => (at === axis ? 3 * size : size));
    const found = tripled.valueOf(value)?.dims;
    if (expected?.join() !== found?.join()) {
      return `with a batch of ${3 * batch}, "${value}" would be [${found ?? 'unknown'}] instead of [${expected ?? 'unknown'}]`;
    }
  }
  return undefined;
}
