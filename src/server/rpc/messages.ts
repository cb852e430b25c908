/**
 * Turns domain values into messages of the contract. Requests need no such step: their generated
 * types are read where they are used.
 */

import type { ClassifyResponse } from '../../contract/generated/vitserve/v1/ClassifyResponse.js';
import type { Model } from '../../contract/generated/vitserve/v1/Model.js';
import type { ModelVersion } from '../../contract/generated/vitserve/v1/ModelVersion.js';
import type { Timing } from '../../contract/generated/vitserve/v1/Timing.js';
import type { InferenceOutput } from '../../workers/inference/messages.js';
import type { ModelInfo } from '../models/served-model.js';
import { type ImageRecord, queueMsOf } from '../telemetry/record.js';
import type { Embedded } from './embed-serializer.js';

export function toClassifyResponse(
  output: InferenceOutput,
  record: ImageRecord,
  model: ModelInfo,
): ClassifyResponse {
  return {
    predictions: output.predictions.map(({ classIndex, score }) => ({
      classIndex,
      label: model.labels[classIndex] ?? '',
      score,
    })),
    model: toModelVersion(model),
    timing: toTiming(record),
  };
}

/** `dimensions`: how many values to keep; 0: all. */
export function toEmbedded(
  { embedding }: InferenceOutput,
  record: ImageRecord,
  model: ModelInfo,
  { normalize, dimensions }: { readonly normalize: boolean; readonly dimensions: number },
): Embedded {
  const kept = dimensions === 0 ? embedding : embedding.subarray(0, dimensions);
  return {
    embedding: normalize ? scaleToUnitLength(kept) : kept,
    model: toModelVersion(model),
    timing: toTiming(record),
  };
}

export function toModel(model: ModelInfo): Model {
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

function toModelVersion({ name, version, executionProvider }: ModelInfo): ModelVersion {
  return { name, version, executionProvider };
}

/** The queue time counts from the permit on. */
function toTiming(record: ImageRecord): Timing {
  const { decoded, executed, admittedAt } = record;
  return {
    decode: toDuration(decoded?.decodeMs ?? 0),
    queue: toDuration(queueMsOf(record, admittedAt)),
    inference: toDuration(executed?.executionMs ?? 0),
    batchSize: executed?.batchSize ?? 0,
  };
}

function toDuration(milliseconds: number): { seconds: number; nanos: number } {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: Math.floor((milliseconds - seconds * 1000) * 1e6) };
}

/** Divides by the Euclidean length; a vector of zeroes stays as it is. */
function scaleToUnitLength(vector: Float32Array): Float32Array {
  let squares = 0;
  for (const value of vector) squares += value * value;
  return squares === 0 ? vector : vector.map((value) => value / Math.sqrt(squares));
}
