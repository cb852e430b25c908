/**
 * Chooses the number of permits (`permits: auto`).
 *
 * It is what the machine answers in SECONDS_OF_WORK, and at least FEWEST_PERMITS and what keeps
 * every process busy, as far as memory allows. The queue is several seconds long, because a
 * rejected call has to come back and its upload was wasted, while a call whose deadline a long
 * queue cannot meet is rejected before it gets a permit.
 *
 * The first figure is a guess, measured in a fifth of a second while other things start. So it is
 * corrected by what the machine answers under load (`throughput.ts`), up and down, but only where
 * it is a quarter off: a limit that always moves tells an operator nothing. After a correction
 * downwards, no permit is given out until fewer than the new limit are in use.
 */
import type { Report } from '../telemetry/events.js';
import type { Permits } from './permits.js';

export const SECONDS_OF_WORK = 4;
export const FEWEST_PERMITS = 64;
export const MOST_PERMITS = 65_536;
/** How far off the limit may be, as a share of the limit. */
const TOLERANCE = 0.25;

/** How much of the free shared memory the slots may take. */
const SHARE_OF_SHARED_MEMORY = 0.5;
/** How much of the memory slots and encoded images may take together. */
const SHARE_OF_MEMORY = 0.25;
/** A waiting image takes the bytes of its file in the front: a photo. */
const PHOTO_BYTES = 128 * 1024;

export interface Room {
  /** Bytes of one slot. */
  readonly slotBytes: number;
  /** Reserved slots for permits. */
  readonly slots: number;
  /** Free bytes of shared memory beside them. */
  readonly freeSharedBytes: number;
  /** Bytes of memory that this container, or machine, may use. */
  readonly memoryBytes: number;
}

export interface Wanted {
  readonly imagesPerSecond: number;
  /** Images that keep every process busy. */
  readonly fewest: number;
}

export interface Choice {
  readonly permits: number;
  /** What was too small for the wanted number; null: nothing. */
  readonly short: 'shared memory' | 'memory' | null;
}

export function choosePermits({ imagesPerSecond, fewest }: Wanted, room: Room): Choice {
  const { slotBytes, slots, freeSharedBytes, memoryBytes } = room;
  const work = Math.round(SECONDS_OF_WORK * imagesPerSecond);
  const wanted = Math.min(Math.max(work, fewest, FEWEST_PERMITS), MOST_PERMITS);
  const inShared = slots + Math.floor((freeSharedBytes * SHARE_OF_SHARED_MEMORY) / slotBytes);
  const inMemory = Math.floor((memoryBytes * SHARE_OF_MEMORY) / (slotBytes + PHOTO_BYTES));
  const permits = Math.max(1, Math.min(wanted, inShared, inMemory));
  if (permits === wanted) return { permits, short: null };
  return { permits, short: inShared <= inMemory ? 'shared memory' : 'memory' };
}

export interface PermitLimitOptions {
  readonly permits: Permits;
  /** The number that the operator has set; null: `auto`. */
  readonly fixed?: number | null;
  readonly wanted: () => Wanted;
  readonly room: () => Room;
  readonly report: Report;
}

export class PermitLimit {
  readonly #options: PermitLimitOptions;
  #short: Choice['short'] = null;

  constructor(options: PermitLimitOptions) {
    this.#options = options;
  }

  /** Sets the first limit. */
  begin(): void {
    const { permits, fixed = null } = this.#options;
    if (fixed === null) this.#set(this.#choose());
    else permits.setLimit(fixed);
  }

  /** Call it after each new measurement of the throughput. */
  correct(): void {
    const { permits, fixed = null, wanted, report } = this.#options;
    if (fixed !== null) return;
    const choice = this.#choose();
    if (Math.abs(choice.permits - permits.limit) <= TOLERANCE * permits.limit) return;
    this.#set(choice);
    const { imagesPerSecond } = wanted();
    report({ kind: 'permits-corrected', permits: choice.permits, imagesPerSecond });
  }

  /** A slot could not be reserved: limits the permits to these slots until there is room again. */
  ranShort(slots: number): void {
    this.#set({ permits: Math.max(1, slots), short: 'shared memory' });
  }

  #choose(): Choice {
    const { wanted, room } = this.#options;
    return choosePermits(wanted(), room());
  }

  #set({ permits, short }: Choice): void {
    this.#options.permits.setLimit(permits);
    if (short !== null && short !== this.#short)
      this.#options.report({ kind: 'permits-short', permits, short });
    this.#short = short;
  }
}
