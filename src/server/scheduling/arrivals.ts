/**
 * How fast images come: the mean gap between two of them, the latest weighing most. Pure logic; the
 * caller says what time it is.
 */

/** Weight of the newest gap. */
const WEIGHT = 0.1;
/** A longer gap says no more than that nobody was there, and would be remembered for too long. */
const LONGEST_MS = 1_000;

export class Arrivals {
  #lastAt = Number.NEGATIVE_INFINITY;
  #meanGapMs = LONGEST_MS;

  note(now: number): void {
    this.#meanGapMs += WEIGHT * (Math.min(now - this.#lastAt, LONGEST_MS) - this.#meanGapMs);
    this.#lastAt = now;
  }

  /** Milliseconds. */
  get meanGapMs(): number {
    return this.#meanGapMs;
  }
}
