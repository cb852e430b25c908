/**
 * What executes batches, as a queue sees it: a process, or a fake one in tests.
 */
import type { Reason } from '../errors.js';

/** The result for one input of a batch. */
export type WorkResult<Output> =
  | { readonly kind: 'done'; readonly output: Output }
  /** It was cancelled or expired when its turn came. */
  | { readonly kind: 'skipped' }
  /** The input is at fault (INTERNAL: the worker is). */
  | { readonly kind: 'rejected'; readonly reason: Reason; readonly message: string };

export interface Worker<Input, Output> {
  /** Whether it takes batches now. */
  readonly ready: boolean;
  /** Batches that it has and has not answered. It answers them in order. */
  readonly inFlight: number;
  /** One result for each input, in their order. Rejects with ProcessLostError. */
  run(batch: readonly Input[]): Promise<readonly WorkResult<Output>[]>;
  /** Calls back when `ready` changes by itself, or `inFlight` falls. One listener. */
  onChange(listener: () => void): void;
}

/** The process was lost before it answered. The batch may be retried on another one. */
export class ProcessLostError extends Error {
  override readonly name = 'ProcessLostError';
  /**
   * Whether this batch may have ended the process: the process worked on it, and the loss was
   * self-inflicted (`process/loss.ts`).
   */
  readonly suspect: boolean;
  /** Whether that is certain: the process has spent its limit of processor time on it. */
  readonly usedUp: boolean;

  constructor(
    message: string,
    { suspect = false, usedUp = false }: Partial<Pick<ProcessLostError, 'suspect' | 'usedUp'>> = {},
  ) {
    super(message);
    this.suspect = suspect;
    this.usedUp = usedUp;
  }
}
