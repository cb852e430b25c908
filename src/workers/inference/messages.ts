/**
 * The messages between the front and an inference process: fixed binary layouts, little-endian.
 *
 * Call: `u16 images`, then per image `u32 slot | u32 topK | u8 wantsEmbedding`. Reply: `f64
 * executionMs | u16 executed images | u16 images`, then per image `u8 skipped`, and where it is 0:
 *        `u32 predictions`, each `u32 classIndex | f32 score`, then `u32 embedding values`, each `f32`.
 */

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

/**
 * `skipped`: when its turn came the image was cancelled or past its deadline, so it was not
 * executed. Times are milliseconds; `batchSize` counts the images that were executed together.
 */
export type InferenceResult =
  | {
      readonly kind: 'executed';
      readonly predictions: readonly Prediction[];
      readonly embedding: readonly number[];
      readonly executionMs: number;
      readonly batchSize: number;
    }
  | { readonly kind: 'skipped' };

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

export function encodeReply(results: readonly InferenceResult[]): Buffer {
  let size = 12;
  for (const result of results) {
    size += 1;
    if (result.kind === 'executed')
      size += 8 + result.predictions.length * 8 + result.embedding.length * 4;
  }
  const bytes = Buffer.allocUnsafe(size);
  const executed = results.find((result) => result.kind === 'executed');
  let at = bytes.writeDoubleLE(executed?.executionMs ?? 0, 0);
  at = bytes.writeUInt16LE(executed?.batchSize ?? 0, at);
  at = bytes.writeUInt16LE(results.length, at);
  for (const result of results) {
    at = bytes.writeUInt8(result.kind === 'skipped' ? 1 : 0, at);
    if (result.kind === 'skipped') continue;
    at = bytes.writeUInt32LE(result.predictions.length, at);
    for (const { classIndex, score } of result.predictions) {
      at = bytes.writeUInt32LE(classIndex, at);
      at = bytes.writeFloatLE(score, at);
    }
    at = bytes.writeUInt32LE(result.embedding.length, at);
    for (const value of result.embedding) at = bytes.writeFloatLE(value, at);
  }
  return bytes;
}

/** Throws if the bytes are not a reply to a call of so many images. */
export function decodeReply(bytes: Buffer, images: number): InferenceResult[] {
  const executionMs = bytes.readDoubleLE(0);
  const batchSize = bytes.readUInt16LE(8);
  const count = bytes.readUInt16LE(10);
  if (count !== images || !(executionMs >= 0 && executionMs < Number.POSITIVE_INFINITY)) {
    throw new Error(`results of ${count} images instead of ${images}`);
  }
  let at = 12;
  const results: InferenceResult[] = [];
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
    const embedding = new Array<number>(values);
    for (let index = 0; index < values; index++, at += 4) embedding[index] = bytes.readFloatLE(at);
    results.push({ kind: 'executed', predictions, embedding, executionMs, batchSize });
  }
  return results;
}
