/**
 * How many permits there are where the number is the server's to choose (`permits: auto`).
 *
 * As many as the machine answers in SECONDS_OF_WORK, and never fewer than FEWEST_PERMITS or than
 * keep every process at work, as far as there is memory. Several seconds, because a rejected caller
 * has to come back and what it sent was for nothing, while one with a deadline that a long queue
 * can't meet is told so before it gets a permit.
 *
 * The figure from the start is a guess, made in a fifth of a second beside whatever else was
 * starting. So it is corrected by what the machine answers under load (`throughput.ts`), up and
 * down, but only where it is a quarter off: a limit that moves all the time tells an operator
 * nothing. After a correction downwards, permits that are given back are not handed out again until
 * there are fewer than the new limit in use.
 */
import type { Report } from '../telemetry/events.js';
import type { Permits } from './permits.js';

export const SECONDS_OF_WORK = 4;
export const FEWEST_PERMITS = 64;
export const MOST_PERMITS = 65_536;
/** How far off the limit may be, as a share of itself. */
const TOLERANCE = 0.25;

/** How much of the free shared memory the slots may take. */
const SHARE_OF_SHARED_MEMORY = 0.5;
/** How much of the memory slots and encoded images may take together. */
const SHARE_OF_MEMORY = 0.25;
/** An image waits in the front as the file that it came as: a photo. */
const USUAL_IMAGE_BYTES = 128 * 1024;

/** Bytes. */
export interface Room {
  /** Of one slot. */
  readonly slotBytes: number;
  /** Slots for permits that have been reserved. */
  readonly slots: number;
  /** Shared memory that is free beside them. */
  readonly freeSharedBytes: number;
  /** That this container, or machine, may use. */
  readonly memoryBytes: number;
}

export interface Wanted {
  readonly imagesPerSecond: number;
  /** Images that keep every process at work. */
  readonly fewest: number;
}

export interface Choice {
  readonly permits: number;
  /** What there was not enough of for as many as were wanted; null: there was. */
  readonly short: 'shared memory' | 'memory' | null;
}

export function choosePermits({ imagesPerSecond, fewest }: Wanted, room: Room): Choice {
  const { slotBytes, slots, freeSharedBytes, memoryBytes } = room;
  const work = Math.round(SECONDS_OF_WORK * imagesPerSecond);
  const wanted = Math.min(Math.max(work, fewest, FEWEST_PERMITS), MOST_PERMITS);
  const inShared = slots + Math.floor((freeSharedBytes * SHARE_OF_SHARED_MEMORY) / slotBytes);
  const inMemory = Math.floor((memoryBytes * SHARE_OF_MEMORY) / (slotBytes + USUAL_IMAGE_BYTES));
  const permits = Math.max(1, Math.min(wanted, inShared, inMemory));
  if (permits === wanted) return { permits, short: null };
  return { permits, short: inShared <= inMemory ? 'shared memory' : 'memory' };
}

export interface PermitLimitOptions {
  readonly permits: Permits;
  /** Where the operator has set the number; null: it is the server's to choose. */
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

  /** Sets the limit to begin with. */
  begin(): void {
    const { permits, fixed = null } = this.#options;
    if (fixed === null) this.#set(this.#choose());
    else permits.setLimit(fixed);
  }

  /** To be called whenever it is known anew how many images a second are answered. */
  correct(): void {
    const { permits, fixed = null, wanted, report } = this.#options;
    if (fixed !== null) return;
    const choice = this.#choose();
    if (Math.abs(choice.permits - permits.limit) <= TOLERANCE * permits.limit) return;
    this.#set(choice);
    const { imagesPerSecond } = wanted();
    report({ kind: 'permits-corrected', permits: choice.permits, imagesPerSecond });
  }

  /** A slot could not be reserved: what there is has to do until there is room again. */
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
