/**
 * The delay before a lost process restarts: 100 ms, doubling to 10 s, ± 20 % so that siblings do
 * not restart together. Only a process that served for a while resets the delay: one that comes up
 * and dies at once would restart in a storm.
 */

const FIRST_MS = 100;
const LONGEST_MS = 10_000;
/** A process that was ready for this long counts as healthy: its loss starts a new count. */
const STEADY_MS = 5_000;

export class Backoff {
  readonly #random: () => number;
  #losses = 0;

  /** @param random 0 to 1 */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** @param servedMs how long the lost process had been ready; 0: it never was */
  nextMs(servedMs: number): number {
    if (servedMs > STEADY_MS) this.#losses = 0;
    const waitMs = Math.min(FIRST_MS * 2 ** this.#losses, LONGEST_MS);
    this.#losses++;
    return waitMs * (0.8 + 0.4 * this.#random());
  }
}
