/**
 * The stages of a call as intervals, from what was written down of its image. A stage in which the
 * call came to its end is the last one, and takes in the waiting before it.
 *
 * Children measure what they do themselves, and the front when it was told; so a stage of work ends
 * when the front hears of it, and the way between processes counts as waiting before it.
 */
import { type ImageRecord, queueMsOf } from './record.js';

export type StageName =
  | 'upload'
  | 'permit'
  | 'decode queue'
  | 'decode'
  | 'batch queue'
  | 'inference'
  | 'reply';

/** Times are monotonic milliseconds. */
export interface Stage {
  readonly name: StageName;
  readonly from: number;
  readonly to: number;
  readonly attributes: Readonly<Record<string, string | number>>;
}

/** Of a unary call, from its headers on. `image` is null where it never was there in full. */
export function stagesOfCall(beganAt: number, image: ImageRecord | null, endedAt: number): Stage[] {
  if (image === null) return [stage('upload', beganAt, endedAt)];
  return [stage('upload', beganAt, image.cameAt), ...stagesOfImage(image, endedAt)];
}

/** Of an image from when it was there in full. */
export function stagesOfImage(image: ImageRecord, endedAt: number): Stage[] {
  const { cameAt, admittedAt, decoded, executed } = image;
  const stages = admittedAt > cameAt ? [stage('permit', cameAt, admittedAt)] : [];
  if (decoded === null) return [...stages, stage('decode', admittedAt, endedAt)];
  const { format, decoder } = decoded;
  const decodedFrom = Math.max(admittedAt, decoded.at - decoded.decodeMs);
  stages.push(
    stage('decode queue', admittedAt, decodedFrom),
    stage('decode', decodedFrom, decoded.at, {
      'vitserve.image.format': format,
      'vitserve.decoder': decoder,
    }),
  );
  if (executed === null) return [...stages, stage('batch queue', decoded.at, endedAt)];
  const executedFrom = Math.max(decoded.at, executed.at - executed.executionMs);
  stages.push(
    stage('batch queue', decoded.at, executedFrom),
    stage('inference', executedFrom, executed.at, { 'vitserve.batch.size': executed.batchSize }),
    stage('reply', executed.at, endedAt),
  );
  return stages;
}

/** The times that answers carry, as far as the image came. Milliseconds. */
export function timesOf(image: ImageRecord): Readonly<Record<string, number>> {
  const { cameAt, decoded, executed } = image;
  if (decoded === null) return {};
  const { decodeMs } = decoded;
  if (executed === null) return { decodeMs: rounded(decodeMs) };
  const { executionMs, batchSize } = executed;
  return {
    decodeMs: rounded(decodeMs),
    queueMs: rounded(queueMsOf(image, cameAt)),
    inferenceMs: rounded(executionMs),
    batchSize,
  };
}

/** To microseconds: what a log line needs. */
export function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}

function stage(
  name: StageName,
  from: number,
  to: number,
  attributes: Stage['attributes'] = {},
): Stage {
  return { name, from, to: Math.max(from, to), attributes };
}
