/**
 * How fast images arrive: the mean gap between two of them, the latest weighing most. Pure logic;
 * the caller passes the time.
 */

/** Weight of the newest gap. */
const WEIGHT = 0.1;
/** A longer gap only says that there was no load, and would weigh for too long. */
const LONGEST_MS = 1_000;

export class Arrivals {
  #lastAt = Number.NEGATIVE_INFINITY;
  #meanGapMs = LONGEST_MS;

  note(now: number): void {
    this.#meanGapMs += WEIGHT * (Math.min(now - this.#lastAt, LONGEST_MS) - this.#meanGapMs);
    this.#lastAt = now;
  }

  get meanGapMs(): number {
    return this.#meanGapMs;
  }
}
