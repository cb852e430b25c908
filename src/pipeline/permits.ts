/**
 * Permits: the one bound on load. A permit is the right to be worked on, and the pixel slot of the same number; who has
 * none is refused (unary calls) or waits (streams) before it has cost a decode.
 *
 * Streams can wait and unary calls can't, so streams together never hold more than half of the permits.
 */
import type { Clock } from '../clock.js';

export interface Permit {
  readonly slot: number;
  /** Gives it back; further calls do nothing. */
  release(): void;
}

type Holder = 'unary' | 'stream';

/** Weight of the newest holding time in the running mean: about the last twenty count. */
const MEAN_WEIGHT = 0.05;

export class Permits {
  readonly #clock: Clock;
  readonly #free: number[] = [];
  readonly #waiting: ((permit: Permit) => void)[] = [];
  #limit = 0;
  #heldByStreams = 0;
  #meanHeldMs = 0;
  /** Called whenever the number in use or the limit has changed. */
  onChange: () => void = () => {};

  constructor(limit: number, clock: Clock) {
    this.#clock = clock;
    this.raise(limit);
  }

  get limit(): number {
    return this.#limit;
  }

  get inUse(): number {
    return this.#limit - this.#free.length;
  }

  /** How long a permit has lately been held, in milliseconds (a running mean): the time after which a full house has changed. */
  get meanHeldMs(): number {
    return this.#meanHeldMs;
  }

  /** More permits, up to `limit`. */
  raise(limit: number): void {
    for (; this.#limit < limit; this.#limit++) this.#free.push(this.#limit);
    this.#serveWaiting();
    this.onChange();
  }

  /** A permit for a unary call, or null where all are taken. */
  tryTake(): Permit | null {
    return this.#take('unary');
  }

  /** Waits for a permit for an image of a stream, first come, first served. Rejects with the signal's reason when that comes first. */
  async takeForStream(signal: AbortSignal): Promise<Permit> {
    signal.throwIfAborted();
    const now = this.#takeForStream();
    if (now !== null) return now;
    return await new Promise<Permit>((resolve, reject) => {
      const onPermit = (permit: Permit) => {
        signal.removeEventListener('abort', onAbort);
        resolve(permit);
      };
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(onPermit), 1);
        reject(signal.reason);
      };
      this.#waiting.push(onPermit);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #takeForStream(): Permit | null {
    return this.#heldByStreams < Math.ceil(this.#limit / 2) ? this.#take('stream') : null;
  }

  #take(holder: Holder): Permit | null {
    const slot = this.#free.pop();
    if (slot === undefined) return null;
    if (holder === 'stream') this.#heldByStreams++;
    const since = this.#clock.now();
    let held = true;
    this.onChange();
    return {
      slot,
      release: () => {
        if (!held) return;
        held = false;
        if (holder === 'stream') this.#heldByStreams--;
        this.#free.push(slot);
        const heldMs = this.#clock.now() - since;
        this.#meanHeldMs += (heldMs - this.#meanHeldMs) * (this.#meanHeldMs === 0 ? 1 : MEAN_WEIGHT);
        this.#serveWaiting();
        this.onChange();
      },
    };
  }

  #serveWaiting(): void {
    while (this.#waiting.length > 0) {
      const permit = this.#takeForStream();
      if (permit === null) return;
      this.#waiting.shift()?.(permit);
    }
  }
}
