/**
 * What one image went through, written down while it goes, for the log and for traces. The line
 * fills it in and never looks at it. Times are monotonic milliseconds (`Clock.now`). What it costs:
 * three small objects an image.
 */
import type { ServedModel } from '../models/served-model.js';

export interface ImageRecord {
  /** The image is there in full. */
  readonly cameAt: number;
  /** It has its permit. */
  admittedAt: number;
  /** Null until it is known which one is asked. */
  model: Pick<ServedModel, 'name' | 'version' | 'executionProvider'> | null;
  /**
   * Null until its pixels are there; `at` is when the front was told, `decodeMs` what the decoder
   * process took.
   */
  decoded: {
    readonly at: number;
    readonly decodeMs: number;
    readonly format: string;
    readonly decoder: string;
  } | null;
  /** Null until it has scores; the times as above. */
  executed: {
    readonly at: number;
    readonly executionMs: number;
    readonly batchSize: number;
  } | null;
}

export function newImageRecord(cameAt: number): ImageRecord {
  return { cameAt, admittedAt: cameAt, model: null, decoded: null, executed: null };
}
