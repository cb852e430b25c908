/**
 * Which calls are admitted, asked when a call's metadata arrives and nothing of its body has been
 * read.
 *
 * A unary call first gets an upload allowance (as many as there are permits, each for a limited
 * time), and a permit only when its body is complete, so that slow uploads cannot hold the permits.
 * A call that cannot be admitted is rejected at once, with a hint when to retry that follows from
 * how long permits are being held.
 */
import type { Clock } from '../../clock.js';
import { RequestError } from '../../errors.js';
import type { Permit, Permits } from './permits.js';

/** The right to send one body. */
export interface Upload {
  /**
   * The body is complete: a permit for it. Throws RequestError OVERLOADED where there is none,
   * UPLOAD_TIMEOUT where the upload has ended before. Ends it either way.
   */
  admit(): Permit;
  /** The call has ended before its body was complete. Does nothing after `admit`. */
  end(): void;
}

/** A place for one message of a stream. */
export interface StreamUpload {
  /**
   * Whether the message has to wait for its place: nothing more of it should be read until
   * `onTurn`.
   */
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
    /** 0 to 1; spreads the retries of callers that were refused together. */
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

  /** Throws RequestError STARTING or DRAINING unless calls are taken. */
  checkGate(): void {
    if (this.gate === 'OPEN') return;
    const text =
      this.gate === 'STARTING'
        ? 'the server is still starting'
        : 'the server is stopping: call another one';
    throw new RequestError(this.gate, text, { retryAfterMs: this.gate === 'STARTING' ? 500 : 100 });
  }

  /**
   * Throws RequestError OVERLOADED. `onTimeout` is called when the body takes too long; the upload
   * has then ended.
   */
  beginUpload(onTimeout: (error: RequestError) => void): Upload {
    if (this.permits.inUse >= this.permits.limit)
      throw this.#overloaded('as many images as permits are being worked on');
    if (this.#uploads >= this.permits.limit)
      throw this.#overloaded('as many images as allowed are being received');
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
        if (permit === null)
          throw this.#overloaded('as many images as permits are being worked on');
        return permit;
      },
    };
  }

  /**
   * For a message of a stream of which the first bytes have come. There are as many places as for
   * unary calls, which these don't take; who finds none waits, first come, first served.
   * `onTimeout` is called when a message that has its place takes too long; the place is free again
   * then.
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
      `overloaded: ${why} (${this.permits.limit} permits): retry later or elsewhere`,
      {
        retryAfterMs: Math.min(Math.max(retryAfterMs, SHORTEST_RETRY_MS), LONGEST_RETRY_MS),
      },
    );
  }
}
