/** A clock that stands still until a test moves it. */
import type { Clock } from '#vitserve/clock.js';

interface Timer {
  readonly dueAt: number;
  readonly callback: () => void;
}

export class FakeClock implements Clock {
  #now: number;
  #timers: Timer[] = [];

  constructor(now = 0) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { dueAt: this.#now + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Timers that have neither fired nor been cancelled. */
  get timers(): number {
    return this.#timers.length;
  }

  /** Moves on by `delayMs`; timers due on the way fire in their order and at their time. */
  advance(delayMs: number): void {
    const until = this.#now + delayMs;
    for (;;) {
      const due = this.#timers
        .filter(({ dueAt }) => dueAt <= until)
        .sort((a, b) => a.dueAt - b.dueAt)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#now = due.dueAt;
      due.callback();
    }
    this.#now = until;
  }
}
