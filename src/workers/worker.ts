/**
 * What executes batches, as a queue sees it: a process, or in tests whatever behaves like one.
 */
import type { Reason } from '../errors.js';

/** What became of one input of a batch. */
export type WorkResult<Output> =
  | { readonly kind: 'done'; readonly output: Output }
  /** When its turn came it was cancelled or past its deadline, so it was not worked on. */
  | { readonly kind: 'skipped' }
  /** The input is at fault (INTERNAL: the worker is). */
  | { readonly kind: 'rejected'; readonly reason: Reason; readonly message: string };

export interface Worker<Input, Output> {
  /** Whether it takes batches now. */
  readonly ready: boolean;
  /** Batches that it was given and has not answered. It answers them in order. */
  readonly inFlight: number;
  /** One result for each input, in their order. Rejects with ProcessLostError. */
  run(batch: readonly Input[]): Promise<readonly WorkResult<Output>[]>;
  /** Calls back whenever one of the above has changed. One listener. */
  onChange(listener: () => void): void;
}

/** The process was lost before it answered. The batch may be given to another one. */
export class ProcessLostError extends Error {
  override readonly name = 'ProcessLostError';
  /**
   * Whether this very batch may have ended the process: it was being worked on, and the process
   * ended by its own doing (`process/loss.ts`).
   */
  readonly suspect: boolean;
  /** Whether it is certain: the process has spent on it all the processor time that it may. */
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
