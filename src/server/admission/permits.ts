/**
 * Permits: the one bound on load. A permit is the right of an image to be worked on, and its pixel
 * slot. An image without one is rejected (unary calls) or waits (streams) before it costs a decode.
 *
 * Streams can wait and unary calls cannot, so streams together never hold more than half of the
 * permits.
 *
 * The limit may change while permits are held. Slots are numbered as they are first needed and the
 * one that was given back last is taken first, so however high the limit is, no more slots are ever
 * touched than images were in hand at a time.
 */
import type { Clock } from '../../clock.js';

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
  readonly #firstSlot: number;
  readonly #makeSlot: (slot: number) => boolean;
  /** Slots that were held before. */
  readonly #free: number[] = [];
  readonly #waiting: ((permit: Permit) => void)[] = [];
  #limit: number;
  #inUse = 0;
  #numbered = 0;
  #heldByStreams = 0;
  #meanHeldMs = 0;

  /**
   * Slots are numbered from `firstSlot` on. `makeSlot` is asked before a slot is held for the first
   * time: it makes the slot, or says that there is no room for it. It may lower the limit.
   */
  constructor(
    limit: number,
    clock: Clock,
    {
      firstSlot = 0,
      makeSlot = () => true,
    }: { readonly firstSlot?: number; readonly makeSlot?: (slot: number) => boolean } = {},
  ) {
    this.#clock = clock;
    this.#firstSlot = firstSlot;
    this.#makeSlot = makeSlot;
    this.#limit = limit;
  }

  get limit(): number {
    return this.#limit;
  }

  /** More than the limit for a while after it was lowered. */
  get inUse(): number {
    return this.#inUse;
  }

  /** How many have been held at a time at most, which is how many slots they needed. */
  get slots(): number {
    return this.#numbered;
  }

  /**
   * How long a permit has lately been held, in milliseconds (a running mean): the time after which
   * a full house has changed.
   */
  get meanHeldMs(): number {
    return this.#meanHeldMs;
  }

  /** Those that are held stay held. */
  setLimit(limit: number): void {
    this.#limit = limit;
    this.#serveWaiting();
  }

  /** A permit for a unary call, or null where all are taken. */
  tryTake(): Permit | null {
    return this.#take('unary');
  }

  /**
   * Waits for a permit for an image of a stream, first come, first served. Rejects with the
   * signal's reason when that comes first.
   */
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
    const slot = this.#inUse < this.#limit ? this.#freeSlot() : null;
    if (slot === null) return null;
    this.#inUse++;
    if (holder === 'stream') this.#heldByStreams++;
    const since = this.#clock.now();
    let held = true;
    return {
      slot,
      release: () => {
        if (!held) return;
        held = false;
        this.#inUse--;
        if (holder === 'stream') this.#heldByStreams--;
        this.#free.push(slot);
        const heldMs = this.#clock.now() - since;
        this.#meanHeldMs +=
          (heldMs - this.#meanHeldMs) * (this.#meanHeldMs === 0 ? 1 : MEAN_WEIGHT);
        this.#serveWaiting();
      },
    };
  }

  #freeSlot(): number | null {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const next = this.#firstSlot + this.#numbered;
    if (!this.#makeSlot(next)) return null;
    this.#numbered++;
    return next;
  }

  #serveWaiting(): void {
    while (this.#waiting.length > 0) {
      const permit = this.#takeForStream();
      if (permit === null) return;
      this.#waiting.shift()?.(permit);
    }
  }
}
