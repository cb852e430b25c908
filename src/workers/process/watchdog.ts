/**
 * A time limit that a machine's pause does not use up.
 *
 * It is counted in quarters, each of which begins when the one before has ended: while everything
 * stands still (a paused container, a machine asleep, a front that is stopped) at most one quarter
 * passes, however long it takes. One long timer would find itself overdue afterwards and kill
 * processes that had stood still along with it.
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

  /** Begins anew. */
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
