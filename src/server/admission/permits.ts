/**
 * Permits: the one bound on load. A permit lets the server work on an image, and comes with its
 * pixel slot. An image without one is rejected (unary calls) or waits (streams) before it costs a
 * decode. Streams can wait and unary calls cannot, so all streams together hold at most half of the
 * permits.
 *
 * The limit may change while permits are held. Slots are numbered when they are first needed, and
 * the one that was given back last is taken first. So however high the limit is, the server touches
 * no more slots than it ever had images at a time.
 */
import type { Clock } from '../../clock.js';

export interface Permit {
  readonly slot: number;
  /** Gives the permit back; further calls do nothing. */
  release(): void;
}

type Holder = 'unary' | 'stream';

/** Weight of the newest holding time in the running mean: about the last twenty count. */
const MEAN_WEIGHT = 0.05;

export class Permits {
  readonly #clock: Clock;
  readonly #firstSlot: number;
  readonly #makeSlot: (slot: number) => boolean;
  /** Slots that were used before and are free. */
  readonly #free: number[] = [];
  readonly #waiting: ((permit: Permit) => void)[] = [];
  #limit: number;
  #inUse = 0;
  #numbered = 0;
  #heldByStreams = 0;
  #meanHeldMs = 0;

  /**
   * Slots are numbered from `firstSlot` on. `makeSlot` is called before the first use of a slot: it
   * makes the slot, or returns false where there is no room. It may lower the limit.
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

  /** May exceed the limit for a while after that was lowered. */
  get inUse(): number {
    return this.#inUse;
  }

  /** The most permits that were held at a time, which is the number of slots. */
  get slots(): number {
    return this.#numbered;
  }

  /** How long a permit was held lately, in milliseconds (a running mean). */
  get meanHeldMs(): number {
    return this.#meanHeldMs;
  }

  /** Held permits stay held. */
  setLimit(limit: number): void {
    this.#limit = limit;
    this.#serveWaiting();
  }

  /** A permit for a unary call; null: all are taken. */
  tryTake(): Permit | null {
    return this.#take('unary');
  }

  /**
   * Waits for a permit for an image of a stream, first come, first served. Rejects with the reason
   * of the signal where that is aborted first.
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
