/**
 * How long to wait before a lost process is started again: 100 ms, doubling to 10 s, ± 20 % so that
 * siblings don't march in step. Only a process that has served for a while sets the wait back: one
 * that comes up and dies at once is a storm too.
 */

const FIRST_MS = 100;
const LONGEST_MS = 10_000;
/** A process that was ready for this long is taken to be healthy: its loss starts a new count. */
const STEADY_MS = 5_000;

export class Backoff {
  readonly #random: () => number;
  #losses = 0;

  /** @param random 0 to 1 */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** @param servedMs how long the process that was lost had been ready; 0 for one that never was */
  nextMs(servedMs: number): number {
    if (servedMs > STEADY_MS) this.#losses = 0;
    const waitMs = Math.min(FIRST_MS * 2 ** this.#losses, LONGEST_MS);
    this.#losses++;
    return waitMs * (0.8 + 0.4 * this.#random());
  }
}
