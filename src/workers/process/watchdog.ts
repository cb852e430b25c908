/**
 * A time limit that a pause of the machine does not use up.
 *
 * It counts in quarters, each of which begins when the one before has ended. During a pause (a
 * paused container, a sleeping machine, a stopped front) at most one quarter passes, however long
 * it takes. One long timer would be overdue afterwards, and kill processes that were paused too.
 */
import type { Clock } from '../../clock.js';

const PARTS = 4;

export class Watchdog {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #onExpired: () => void;
  #cancel: () => void = () => {};

  constructor(clock: Clock, limitMs: number, onExpired: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#onExpired = onExpired;
  }

  /** Starts again from zero. */
  start(): void {
    this.stop();
    this.#wait(PARTS);
  }

  stop(): void {
    this.#cancel();
  }

  #wait(parts: number): void {
    this.#cancel = this.#clock.after(this.#limitMs / PARTS, () => {
      if (parts > 1) this.#wait(parts - 1);
      else this.#onExpired();
    });
  }
}
