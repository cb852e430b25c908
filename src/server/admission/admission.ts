/**
 * Decides which calls are admitted, when their metadata arrives and before any of the body is read.
 *
 * A unary call first gets an upload allowance (as many as there are permits, each for a limited
 * time), and a permit only when its body is complete, so that slow uploads cannot hold permits. A
 * call that cannot be admitted is rejected at once, with a retry delay that follows from how long
 * permits are held.
 */
import type { Clock } from '../../clock.js';
import { RequestError } from '../../errors.js';
import type { Permit, Permits } from './permits.js';

/** The right to send one body. */
export interface Upload {
  /**
   * Turns the allowance of a complete body into a permit. Throws RequestError OVERLOADED where
   * there is none, UPLOAD_TIMEOUT where the upload has timed out. Ends the upload either way.
   */
  admit(): Permit;
  /** Ends the upload of a call that ended before its body. Does nothing after `admit`. */
  end(): void;
}

/** A place for one message of a stream. */
export interface StreamUpload {
  /** Whether the message waits for its place: read no more of it before `onTurn`. */
  readonly waits: boolean;
  /** The message is complete, or its call has ended. */
  end(): void;
}

export type Gate = 'STARTING' | 'OPEN' | 'DRAINING';

const SHORTEST_RETRY_MS = 10;
const LONGEST_RETRY_MS = 5_000;

export class Admission {
  readonly permits: Permits;
  readonly #clock: Clock;
  readonly #uploadTimeoutMs: number;
  readonly #random: () => number;
  #uploads = 0;
  #streamUploads = 0;
  readonly #waitingMessages: (() => void)[] = [];
  gate: Gate = 'STARTING';

  constructor(options: {
    readonly permits: Permits;
    readonly clock: Clock;
    readonly uploadTimeoutMs: number;
    /** 0 to 1; spreads the retries of calls that were rejected together. */
    readonly random?: () => number;
  }) {
    this.permits = options.permits;
    this.#clock = options.clock;
    this.#uploadTimeoutMs = options.uploadTimeoutMs;
    this.#random = options.random ?? Math.random;
  }

  get uploads(): number {
    return this.#uploads;
  }

  /** Throws RequestError STARTING or DRAINING unless the gate is open. */
  checkGate(): void {
    if (this.gate === 'OPEN') return;
    const text =
      this.gate === 'STARTING'
        ? 'the server is still starting: retry'
        : 'the server is stopping: call another one';
    throw new RequestError(this.gate, text, { retryAfterMs: this.gate === 'STARTING' ? 500 : 100 });
  }

  /**
   * Throws RequestError OVERLOADED. Ends the upload and calls `onTimeout` where the body takes too
   * long.
   */
  beginUpload(onTimeout: (error: RequestError) => void): Upload {
    if (this.permits.inUse >= this.permits.limit) throw this.#overloaded('all permits are in use');
    if (this.#uploads >= this.permits.limit) throw this.#overloaded('too many uploads are open');
    this.#uploads++;
    let open = true;
    const cancelTimer = this.#clock.after(this.#uploadTimeoutMs, () => {
      end();
      onTimeout(this.#late());
    });
    const end = () => {
      if (!open) return;
      open = false;
      cancelTimer();
      this.#uploads--;
    };
    return {
      end,
      admit: () => {
        if (!open) throw this.#late();
        end();
        const permit = this.permits.tryTake();
        if (permit === null) throw this.#overloaded('all permits are in use');
        return permit;
      },
    };
  }

  /**
   * Call it at the first bytes of a message of a stream. Streams have as many places as unary
   * calls, apart from theirs; without a free one the message waits, first come, first served. A
   * message that takes too long once it has a place gives it back, and `onTimeout` is called.
   */
  beginStreamUpload(onTurn: () => void, onTimeout: (error: RequestError) => void): StreamUpload {
    let cancelTimer = () => {};
    let state: 'waiting' | 'open' | 'ended' = 'waiting';
    const open = () => {
      state = 'open';
      this.#streamUploads++;
      cancelTimer = this.#clock.after(this.#uploadTimeoutMs, () => {
        end();
        onTimeout(this.#late());
      });
    };
    const onFree = () => {
      open();
      onTurn();
    };
    const end = () => {
      if (state === 'waiting')
        this.#waitingMessages.splice(this.#waitingMessages.indexOf(onFree), 1);
      if (state === 'open') {
        cancelTimer();
        this.#streamUploads--;
      }
      const hadPlace = state === 'open';
      state = 'ended';
      if (hadPlace) this.#waitingMessages.shift()?.();
    };
    const waits = this.#streamUploads >= this.permits.limit;
    if (waits) this.#waitingMessages.push(onFree);
    else open();
    return { waits, end };
  }

  #late(): RequestError {
    return new RequestError(
      'UPLOAD_TIMEOUT',
      `the request did not arrive within ${this.#uploadTimeoutMs} ms`,
    );
  }

  #overloaded(why: string): RequestError {
    const retryAfterMs = Math.round(this.permits.meanHeldMs * (0.5 + this.#random()));
    return new RequestError(
      'OVERLOADED',
      `overloaded: ${why} (${this.permits.limit} permits): retry later or on another instance`,
      {
        retryAfterMs: Math.min(Math.max(retryAfterMs, SHORTEST_RETRY_MS), LONGEST_RETRY_MS),
      },
    );
  }
}
