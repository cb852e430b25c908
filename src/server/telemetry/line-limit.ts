/**
 * Limits the log lines of one kind in a window, so that a flood of calls is not a flood of lines,
 * and counts the withheld ones. Kinds come from a closed set.
 */
import type { Clock } from '../../clock.js';

export class LineLimit {
  readonly #clock: Clock;
  readonly #lines: number;
  readonly #windowMs: number;
  readonly #onWithheld: (kind: string, count: number) => void;
  readonly #windows = new Map<string, { logged: number; withheld: number }>();

  constructor(options: {
    readonly clock: Clock;
    /** Lines of one kind in a window. */
    readonly lines: number;
    readonly windowMs: number;
    /** Called at the end of a window in which lines were withheld. */
    readonly onWithheld: (kind: string, count: number) => void;
  }) {
    this.#clock = options.clock;
    this.#lines = options.lines;
    this.#windowMs = options.windowMs;
    this.#onWithheld = options.onWithheld;
  }

  /** Whether a line of this kind may be logged now. Counts it where not. */
  allows(kind: string): boolean {
    const window = this.#windows.get(kind) ?? this.#open(kind);
    if (window.logged < this.#lines) {
      window.logged++;
      return true;
    }
    window.withheld++;
    return false;
  }

  #open(kind: string): { logged: number; withheld: number } {
    const window = { logged: 0, withheld: 0 };
    this.#windows.set(kind, window);
    this.#clock.after(this.#windowMs, () => {
      this.#windows.delete(kind);
      if (window.withheld > 0) this.#onWithheld(kind, window.withheld);
    });
    return window;
  }
}
