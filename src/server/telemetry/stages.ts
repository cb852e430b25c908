/**
 * The stages of a call as intervals, from the record of its image. The stage in which a call ends
 * is the last one, and includes the waiting before it.
 *
 * Children measure their own work, and the front when it knows of the result. So a stage of work
 * ends when the front knows, and the way between processes counts as waiting before it.
 */
import { type ImageRecord, queueMsOf } from './record.js';

export type SpanName =
  | 'upload'
  | 'permit'
  | 'decode queue'
  | 'decode'
  | 'batch queue'
  | 'inference'
  | 'reply';

/** Times are monotonic milliseconds. */
export interface Stage {
  readonly name: SpanName;
  readonly from: number;
  readonly to: number;
  readonly attributes: Readonly<Record<string, string | number>>;
}

/** Stages of a unary call, from its headers on. `image`: null where it did not arrive in full. */
export function stagesOfCall(beganAt: number, image: ImageRecord | null, endedAt: number): Stage[] {
  if (image === null) return [stage('upload', beganAt, endedAt)];
  return [stage('upload', beganAt, image.cameAt), ...stagesOfImage(image, endedAt)];
}

/** Stages of an image, from its arrival in full. */
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

/** The times of an answer, as far as the image came, in milliseconds. */
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

/** Rounds to microseconds, for the log. */
export function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}

function stage(
  name: SpanName,
  from: number,
  to: number,
  attributes: Stage['attributes'] = {},
): Stage {
  return { name, from, to: Math.max(from, to), attributes };
}
