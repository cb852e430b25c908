/**
 * A limit on the processor time of one call of a process, measured from outside.
 *
 * Wall time says little where processes compete: an image that takes a second may take ten on a
 * machine with ten others. So the limit counts what the process has used. Besides, a process that
 * uses nothing for as long as the limit, and for at least a second, is stuck; and one that is not
 * done after WALL_FACTOR times the limit is given up, whatever the cause. Like `watchdog.ts` it
 * counts in parts that begin one after the other, so a pause of the machine uses up one at most.
 *
 * What it costs: a timer for each call, and a look at the process after each part of the limit.
 * What the process uses before the first look does not count.
 */
import type { Clock } from '../../clock.js';

const PARTS = 16;
const WALL_FACTOR = 10;
/** A stuck process may still use this much: two ticks. */
const IDLE_MS = 20;
/** In less time a stuck process looks like one that gets little processor time. */
const LEAST_WINDOW_MS = 1_000;

/**
 * `cpu`: it used up the limit. `idle`: it used nothing for that time. `untold`: that time has
 * passed, and its usage cannot be read. `wall`: it is not done after WALL_FACTOR times as long.
 */
export type Expiry = 'cpu' | 'idle' | 'untold' | 'wall';

/** A watchdog over one call at a time. */
export interface CallWatch {
  start(): void;
  stop(): void;
}

export class CpuWatchdog implements CallWatch {
  readonly #clock: Clock;
  readonly #limitMs: number;
  /** A process that uses nothing in this many parts is stuck. */
  readonly #idleParts: number;
  readonly #cpuMs: () => number | null;
  readonly #onExpired: (expiry: Expiry) => void;
  #cancel: () => void = () => {};

  /**
   * @param cpuMs the processor time of the process since its start; null: it cannot be read, so
   *   wall time counts
   */
  constructor(
    clock: Clock,
    limitMs: number,
    cpuMs: () => number | null,
    onExpired: (expiry: Expiry) => void,
  ) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#idleParts = PARTS * Math.max(1, LEAST_WINDOW_MS / limitMs);
    this.#cpuMs = cpuMs;
    this.#onExpired = onExpired;
  }

  /** Starts again from zero. */
  start(): void {
    this.stop();
    this.#wait([]);
  }

  stop(): void {
    this.#cancel();
  }

  /** `seen`: what the process had used at the end of each part so far; null: unreadable. */
  #wait(seen: (number | null)[]): void {
    this.#cancel = this.#clock.after(this.#limitMs / PARTS, () => {
      seen.push(this.#cpuMs());
      const expiry = this.#judge(seen);
      if (expiry === null) this.#wait(seen);
      else this.#onExpired(expiry);
    });
  }

  #judge(seen: readonly (number | null)[]): Expiry | null {
    const [first, last] = [seen[0] ?? null, seen.at(-1) ?? null];
    if (first === null || last === null) return seen.length >= PARTS ? 'untold' : null;
    if (last - first >= this.#limitMs) return 'cpu';
    const before = seen.at(-1 - Math.ceil(this.#idleParts)) ?? null;
    if (before !== null && last - before <= IDLE_MS) return 'idle';
    return seen.length >= this.#idleParts * WALL_FACTOR ? 'wall' : null;
  }
}
