/**
 * A limit on the processor time that a process may spend on one call, looked at from outside.
 *
 * A clock on the wall says nothing of a call where processes compete: a picture that takes a second
 * may take ten on a machine with ten others. So what counts is what the process has used. Beside
 * it: one that uses nothing at all for as long as the limit (and a second at least) is stuck, and
 * one that is still there after WALL_FACTOR times that is given up, though nobody knows whose fault
 * that is. Like `watchdog.ts` it counts in parts that begin one after the other, so a pause of
 * everything uses up one of them at most.
 *
 * What it costs: a timer for each call, and a look at the process each time that a part of the
 * limit has passed. What is used before the first look is not counted.
 */
import type { Clock } from '../../clock.js';

const PARTS = 16;
const WALL_FACTOR = 10;
/** What a process that waits in vain may still use meanwhile: two ticks. */
const IDLE_MS = 20;
/** In less than this nobody can tell one that is stuck from one that others leave little. */
const LEAST_WINDOW_MS = 1_000;

/**
 * `cpu`: it used up the limit. `idle`: it used nothing for so long. `untold`: so long has passed,
 * and what it used can't be told. `wall`: it is not done after WALL_FACTOR times as long.
 */
export type Expiry = 'cpu' | 'idle' | 'untold' | 'wall';

/** What is watched: it can be told to begin anew, and to stop. */
export interface CallWatch {
  start(): void;
  stop(): void;
}

export class CpuWatchdog implements CallWatch {
  readonly #clock: Clock;
  readonly #limitMs: number;
  /** In how many parts a process that uses nothing is stuck. */
  readonly #idleParts: number;
  readonly #cpuMs: () => number | null;
  readonly #onExpired: (expiry: Expiry) => void;
  #cancel: () => void = () => {};

  /**
   * @param cpuMs what the process has used since it began; null: can't be told, so that time on the
   *   wall counts
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

  /** Begins anew. */
  start(): void {
    this.stop();
    this.#wait([]);
  }

  stop(): void {
    this.#cancel();
  }

  /**
   * `seen`: what the process had used at the end of each part so far; null where it could not be
   * told.
   */
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
