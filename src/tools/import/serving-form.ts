/**
 * The graph in the form in which it will be served, and the parts of the manifest that follow from
 * it: prepared if possible, otherwise unchanged, with the inference process normalising.
 */
import { messageOf, SetupError } from '../../errors.js';
import type { Manifest } from '../../models/manifest.js';
import type { RecognizedModel } from '../../models/sources/recognize.js';
import { type PreparedGraph, prepareGraph } from '../../onnx/passes/prepare.js';
import type { ModelProto } from '../../onnx/proto/model-proto.js';

export interface ServingForm {
  readonly model: ModelProto;
  readonly manifest: Pick<Manifest, 'input' | 'output' | 'embedding' | 'preprocessing'>;
  /** The batch size that the graph is fixed to; null if it takes any. */
  readonly fixedBatch: number | null;
  /** How the graph is fed, for the summary. */
  readonly feeding: string;
  readonly notes: readonly string[];
}

/** Throws SetupError if the graph can be served neither way. */
export function servingForm(
  model: ModelProto,
  recognized: RecognizedModel,
  originalBatch: number | null,
  embedding: boolean,
): ServingForm {
  const form = preparedForm(model, recognized, originalBatch, embedding);
  if (form.fixedBatch !== null && form.fixedBatch > 1) {
    throw new SetupError('usage', [
      `input "${recognized.input.name}" takes batches of exactly ${form.fixedBatch}: export the model with a dynamic batch axis, or with a batch of 1`,
    ]);
  }
  return form;
}

function preparedForm(
  model: ModelProto,
  recognized: RecognizedModel,
  originalBatch: number | null,
  embedding: boolean,
): ServingForm {
  let prepared: PreparedGraph;
  const { input, output, recipe, binaryClasses } = recognized;
  const { rescale, mean, std } = recipe;
  const { height, width } = input.size;
  try {
    prepared = prepareGraph(model, {
      input: { name: input.name, layout: input.layout, height, width },
      normalization: input.typeName === 'uint8' ? null : { rescale, mean, std },
      output: {
        name: output.name,
        kind: output.kind,
        activation: output.activation,
        binaryClasses,
      },
      embedding: embedding ? 'find' : 'none',
    });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    return asItIs(model, recognized, originalBatch, messageOf(error));
  }
  const { inputName, outputName, embeddingName, embeddingSize, notes } = prepared;
  return {
    model: prepared.model,
    manifest: {
      input: { name: inputName, layout: 'NHWC', type: 'uint8', height, width },
      output: { name: outputName, kind: 'probabilities', activation: output.activation },
      embedding:
        embeddingName === null || embeddingSize === null
          ? null
          : { name: embeddingName, size: embeddingSize },
      preprocessing: { ...writableRecipe(recognized), normalizedInGraph: true },
    },
    fixedBatch: prepared.fixedBatch,
    feeding: 'uint8, normalized in the graph',
    notes,
  };
}

/** What the server can do by itself: floats in and out, `[batch, classes]`. */
function asItIs(
  model: ModelProto,
  recognized: RecognizedModel,
  originalBatch: number | null,
  reason: string,
): ServingForm {
  const { input, output, binaryClasses } = recognized;
  if (input.typeName === 'float16' || output.rank === 1 || binaryClasses === 'two') {
    const why =
      input.typeName === 'float16' ? 'a float16 input' : 'an output that is not [batch, classes]';
    throw new SetupError('usage', [
      `the graph can't be prepared (${reason}), and can't be served as it is, because it has ${why}`,
    ]);
  }
  const { height, width } = input.size;
  return {
    model,
    manifest: {
      input: {
        name: input.name,
        layout: input.layout,
        type: input.typeName,
        height,
        width,
      },
      output: { name: output.name, kind: output.kind, activation: output.activation },
      embedding: null,
      preprocessing: writableRecipe(recognized),
    },
    fixedBatch: originalBatch,
    feeding: `${input.typeName}, as it is`,
    notes: [
      `the graph is served as it is, without an embedding, because it can't be prepared: ${reason}`,
    ],
  };
}

/** The schema's tuples are mutable. */
function writableRecipe({ recipe }: RecognizedModel): Manifest['preprocessing'] {
  const { mean, std } = recipe;
  return { ...recipe, mean: [mean[0], mean[1], mean[2]], std: [std[0], std[1], std[2]] };
}
