/**
 * The messages between the front and an inference process: fixed binary layouts, little-endian.
 *
 * Call: `u16 images`, then per image `u32 slot | u32 topK | u8 wantsEmbedding`. Reply: `f64
 * executionMs | u16 executed images | u16 images`, then per image `u8 skipped`, and where it is 0:
 *        `u32 predictions`, each `u32 classIndex | f32 score`, then `u32 embedding values`, each `f32`.
 */

import type { WorkResult } from '../worker.js';

/** One image of a batch. */
export interface InferenceRequest {
  readonly slot: number;
  /** How many predictions to answer with, best first; at most the class count. 0: none. */
  readonly topK: number;
  readonly wantsEmbedding: boolean;
}

export interface Prediction {
  readonly classIndex: number;
  /** Probability, 0 to 1 (the graph's own value if the manifest's activation is `none`). */
  readonly score: number;
}

/** `batchSize` counts the images that were executed together, in `executionMs` milliseconds. */
export interface InferenceOutput {
  readonly predictions: readonly Prediction[];
  /** Empty where it was not wanted. */
  readonly embedding: Float32Array;
  readonly executionMs: number;
  readonly batchSize: number;
}

const IMAGE_CALL_BYTES = 9;

export function encodeCall(images: readonly InferenceRequest[]): Buffer {
  const bytes = Buffer.allocUnsafe(2 + images.length * IMAGE_CALL_BYTES);
  bytes.writeUInt16LE(images.length, 0);
  images.forEach(({ slot, topK, wantsEmbedding }, index) => {
    const at = 2 + index * IMAGE_CALL_BYTES;
    bytes.writeUInt32LE(slot, at);
    bytes.writeUInt32LE(topK, at + 4);
    bytes.writeUInt8(wantsEmbedding ? 1 : 0, at + 8);
  });
  return bytes;
}

export function decodeCall(bytes: Buffer): InferenceRequest[] {
  return Array.from({ length: bytes.readUInt16LE(0) }, (_, index) => {
    const at = 2 + index * IMAGE_CALL_BYTES;
    return {
      slot: bytes.readUInt32LE(at),
      topK: bytes.readUInt32LE(at + 4),
      wantsEmbedding: bytes.readUInt8(at + 8) === 1,
    };
  });
}

/** An inference process rejects nothing: pixels of the right size give a graph no reason to. */
export function encodeReply(results: readonly WorkResult<InferenceOutput>[]): Buffer {
  const outputs = results.map((result) => (result.kind === 'done' ? result.output : null));
  let size = 12;
  for (const output of outputs) {
    size += 1;
    if (output !== null) size += 8 + output.predictions.length * 8 + output.embedding.byteLength;
  }
  const bytes = Buffer.allocUnsafe(size);
  const executed = outputs.find((output) => output !== null);
  let at = bytes.writeDoubleLE(executed?.executionMs ?? 0, 0);
  at = bytes.writeUInt16LE(executed?.batchSize ?? 0, at);
  at = bytes.writeUInt16LE(results.length, at);
  for (const output of outputs) {
    at = bytes.writeUInt8(output === null ? 1 : 0, at);
    if (output === null) continue;
    at = bytes.writeUInt32LE(output.predictions.length, at);
    for (const { classIndex, score } of output.predictions) {
      at = bytes.writeUInt32LE(classIndex, at);
      at = bytes.writeFloatLE(score, at);
    }
    at = bytes.writeUInt32LE(output.embedding.length, at);
    bytes.set(bytesOf(output.embedding), at);
    at += output.embedding.byteLength;
  }
  return bytes;
}

/** Throws where the bytes are no reply to a call of so many images. */
export function decodeReply(bytes: Buffer, images: number): WorkResult<InferenceOutput>[] {
  const executionMs = bytes.readDoubleLE(0);
  const batchSize = bytes.readUInt16LE(8);
  const count = bytes.readUInt16LE(10);
  if (count !== images || !(executionMs >= 0 && executionMs < Number.POSITIVE_INFINITY)) {
    throw new Error(`results of ${count} images instead of ${images}`);
  }
  let at = 12;
  const results: WorkResult<InferenceOutput>[] = [];
  for (let image = 0; image < count; image++) {
    if (bytes.readUInt8(at++) === 1) {
      results.push({ kind: 'skipped' });
      continue;
    }
    const predictions: Prediction[] = [];
    for (let left = bytes.readUInt32LE(at), from = at + 4; left > 0; left--, from += 8) {
      predictions.push({
        classIndex: bytes.readUInt32LE(from),
        score: bytes.readFloatLE(from + 4),
      });
    }
    at += 4 + predictions.length * 8;
    const values = bytes.readUInt32LE(at);
    at += 4;
    if (at + values * 4 > bytes.length) throw new Error(`no room for ${values} values`);
    const embedding = new Float32Array(values);
    bytesOf(embedding).set(bytes.subarray(at, at + embedding.byteLength));
    at += embedding.byteLength;
    results.push({ kind: 'done', output: { predictions, embedding, executionMs, batchSize } });
  }
  return results;
}

/** All machines that onnxruntime supports are little-endian, as the layout is. */
function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
