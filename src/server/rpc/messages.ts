/**
 * Domain values to messages of the contract. (Requests need no such step: the generated types are
 * read where they are used.)
 */
import type { ClassifyResponse } from '../../contract/generated/vitserve/v1/ClassifyResponse.js';
import type { EmbedResponse } from '../../contract/generated/vitserve/v1/EmbedResponse.js';
import type { Model } from '../../contract/generated/vitserve/v1/Model.js';
import type { ModelVersion } from '../../contract/generated/vitserve/v1/ModelVersion.js';
import type { Timing } from '../../contract/generated/vitserve/v1/Timing.js';
import type { ServedModel } from '../models/served-model.js';
import type { Answer } from '../pipeline/pipeline.js';

export function toClassifyResponse(answer: Answer, model: ServedModel): ClassifyResponse {
  return {
    predictions: answer.predictions.map(({ classIndex, score }) => ({
      classIndex,
      label: model.labels[classIndex] ?? '',
      score,
    })),
    model: toModelVersion(model),
    timing: toTiming(answer),
  };
}

export function toEmbedResponse(
  answer: Answer,
  model: ServedModel,
  normalize: boolean,
): EmbedResponse {
  return {
    embedding: normalize ? scaleToUnitLength(answer.embedding) : [...answer.embedding],
    model: toModelVersion(model),
    timing: toTiming(answer),
  };
}

export function toModel(model: ServedModel): Model {
  return {
    model: toModelVersion(model),
    classCount: model.labels.length,
    labels: [...model.labels],
    inputHeight: model.inputHeight,
    inputWidth: model.inputWidth,
    embeddingSize: model.embeddingSize,
    maxBatchSize: model.maxBatchSize,
  };
}

function toModelVersion({ name, version, executionProvider }: ServedModel): ModelVersion {
  return { name, version, executionProvider };
}

function toTiming({ decodeMs, queueMs, inferenceMs, batchSize }: Answer): Timing {
  return {
    decode: toDuration(decodeMs),
    queue: toDuration(queueMs),
    inference: toDuration(inferenceMs),
    batchSize,
  };
}

function toDuration(milliseconds: number): { seconds: number; nanos: number } {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: Math.floor((milliseconds - seconds * 1000) * 1e6) };
}

/** Divides by the Euclidean length; a vector of zeroes stays as it is. */
function scaleToUnitLength(vector: readonly number[]): number[] {
  const length = Math.hypot(...vector);
  return length === 0 ? [...vector] : vector.map((value) => value / length);
}
