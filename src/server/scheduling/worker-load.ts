/**
 * The batches that one worker has been given and has not answered: how long each took, and how long
 * the rest will take.
 *
 * Times are those of the front, from when the worker had nothing else to do until its answer was
 * read. They contain the way between the processes, because an image waits for that too. Pure
 * logic; the caller says what time it is.
 */
import type { CostTable } from './cost-table.js';

/** A batch that was given to a worker. */
export interface Execution {
  readonly images: number;
  /** Set when it is answered. */
  tookMs: number;
}

export class WorkerLoad {
  #given: Execution[] = [];
  #since = 0;

  /** Images in these batches. */
  get images(): number {
    return this.#given.reduce((sum, { images }) => sum + images, 0);
  }

  begin(images: number, now: number): Execution {
    if (this.#given.length === 0) this.#since = now;
    const execution = { images, tookMs: 0 };
    this.#given.push(execution);
    return execution;
  }

  /**
   * The worker has so many batches left. Returns how many it has done since the last time.
   */
  answered(left: number, now: number): number {
    const done = Math.max(0, this.#given.length - left);
    for (let batch = 0; batch < done; batch++) {
      const oldest = this.#given.shift() as Execution;
      oldest.tookMs = now - this.#since;
      this.#since = now;
    }
    return done;
  }

  /** A batch that came to nothing. */
  forget(execution: Execution): void {
    this.#given = this.#given.filter((other) => other !== execution);
  }

  /**
   * Milliseconds until the worker has answered everything; an overdue batch counts as done in a
   * moment.
   */
  remainingMs(costs: CostTable, now: number): number {
    return this.#given.reduce((sum, { images }, at) => {
      const cost = costs.of(images) ?? 0;
      return sum + (at === 0 ? Math.max(0, cost - (now - this.#since)) : cost);
    }, 0);
  }
}
