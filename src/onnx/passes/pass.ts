/**
 * A pass rewrites a graph in place. All have the same signature, so that `prepare.ts` can run a
 * list.
 *
 * Passes share a `GraphRewrite`: the current graph, the options, and what earlier passes have
 * found. Tensors are shared with the original graph: a pass replaces them and never writes into
 * them.
 */
import { opsetVersion, uniqueNames, type ValueDescription } from '../graph/graph.js';
import { type InferredShapes, inferShapes } from '../graph/shapes.js';
import type { GraphProto, ModelProto } from '../proto/model-proto.js';
import { editableCopy } from './edit.js';

export interface PrepareOptions {
  /**
   * The graph's present pixel input: `[batch, 3, height, width]` or `[batch, height, width, 3]`,
   * float32, float16 or uint8.
   */
  readonly input: {
    readonly name: string;
    readonly layout: 'NCHW' | 'NHWC';
    readonly height: number;
    readonly width: number;
  };
  /**
   * (pixel × rescale − mean) / std, to be put into the graph; null: the graph takes pixels of 0 to
   * 255 as they are.
   */
  readonly normalization: {
    readonly rescale: number;
    readonly mean: readonly number[];
    readonly std: readonly number[];
  } | null;
  readonly output: {
    readonly name: string;
    readonly activation: 'softmax' | 'sigmoid' | 'none';
    /** What the graph answers at present. `logits`: the activation is appended. */
    readonly kind: 'logits' | 'probabilities';
    /**
     * For a graph with one sigmoid output (`[batch]` or `[batch, 1]`): `one` (default) answers
     * `[batch, 1]`; `two` answers `[batch, 2]`, (1 − p, p), so that the class of the output comes
     * last.
     */
    readonly binaryClasses?: 'one' | 'two';
  };
  /**
   * `find`: the input of the final classifier becomes an output if it is found; otherwise a note
   * says why not.
   */
  readonly embedding: 'find' | 'none';
  /** Default `pixels`. */
  readonly inputName?: string;
  /** Default `probabilities`, or `logits` where they are logits with activation `none`. */
  readonly outputName?: string;
  /** Default `embedding`. */
  readonly embeddingName?: string;
}

/** The graph's pixel input as `PrepareOptions.input` describes it, compared with the graph. */
export interface CheckedInput {
  readonly dataType: number;
  /** With the batch size that the graph is fixed to; 1 where it takes any. */
  readonly dims: readonly number[];
  /** Null where the graph takes any batch. */
  readonly fixedBatch: number | null;
}

export type Pass = (rewrite: GraphRewrite) => void;

/** A graph that is being rewritten. */
export class GraphRewrite {
  /** The copy that passes change; a pass may replace it by another. */
  model: ModelProto;
  readonly options: PrepareOptions;
  /** What was done and what was impossible, for people. */
  readonly notes: string[] = [];
  readonly uniqueName: (wanted: string) => string;
  /** Names of the input and outputs of the result. */
  readonly names: { readonly input: string; readonly output: string; readonly embedding: string };
  /** The value that holds the pixels at present. */
  pixels: string;
  /** The value that the graph answers with at present. */
  answer: string;
  /**
   * The answer as the original graph declares it: exporters write there what a run of the model
   * gave.
   */
  readonly declaredAnswer: ValueDescription | undefined;
  readonly inputType: number;
  /** Of the pixels, before `inputPixels` replaces them. */
  pixelDims: readonly number[];
  fixedBatch: number | null;
  /** Null: no such output, or none yet. */
  embeddingSize: number | null = null;
  foldedNormalization = false;

  constructor(
    model: ModelProto,
    options: PrepareOptions,
    input: CheckedInput,
    declaredAnswer: ValueDescription | undefined,
  ) {
    const { kind, activation } = options.output;
    this.model = editableCopy(model);
    this.options = options;
    this.uniqueName = uniqueNames(this.graph);
    this.names = {
      input: options.inputName ?? 'pixels',
      output:
        options.outputName ??
        (kind === 'logits' && activation === 'none' ? 'logits' : 'probabilities'),
      embedding: options.embeddingName ?? 'embedding',
    };
    this.pixels = options.input.name;
    this.answer = options.output.name;
    this.declaredAnswer = declaredAnswer;
    this.inputType = input.dataType;
    this.pixelDims = input.dims;
    this.fixedBatch = input.fixedBatch;
  }

  get graph(): GraphProto {
    return this.model.graph;
  }

  /** The batch in the shapes of inputs and outputs. */
  get batch(): number | string {
    return this.fixedBatch ?? 'batch';
  }

  /** Version of the standard operators. */
  get opset(): number {
    return opsetVersion(this.model) ?? 0;
  }

  /** Shapes of every value of the graph as it is now. Costs a walk through the graph. */
  shapes(): InferredShapes {
    return inferShapes(this.model, { [this.pixels]: this.pixelDims });
  }

  note(text: string): void {
    this.notes.push(text);
  }
}
