/**
 * Which of the waiting images make up the next batch: the most urgent ones, as many as can be
 * executed together without making one of them late. Who would be late all the same is not
 * executed: nobody would read the answer, and somebody else would wait for it.
 *
 * Where at least a full batch waits, who would be late in a full one is not executed either. Small
 * batches for the sake of those who are late already would cost so much that everybody behind them
 * became late as well: at three times what a GPU can do, a third of its throughput
 * (docs/internals/decisions/0013-deadline-aware-scheduling.md). Pure logic.
 */
import type { DeadlineQueue, Ordered } from './deadline-queue.js';

export interface Expiring extends Ordered {
  /** Monotonic milliseconds; Infinity where there is no deadline. */
  readonly expiresAt: number;
}

/**
 * Takes them out of the queue. `share`: most images of the batch; `least`: what an image must be
 * able to go with, if there are so many; `finishAt`: when a batch of so many would be answered.
 */
export function formBatch<Image extends Expiring>(
  queue: DeadlineQueue<Image>,
  share: number,
  least: number,
  finishAt: (images: number) => number,
): { readonly batch: readonly Image[]; readonly late: readonly Image[] } {
  const batch: Image[] = [];
  const late: Image[] = [];
  let earliest = Number.POSITIVE_INFINITY;
  for (let next = queue.first; next !== undefined && batch.length < share; next = queue.first) {
    if (finishAt(Math.min(least, batch.length + queue.size)) > next.expiresAt) late.push(next);
    else {
      earliest = Math.min(earliest, next.expiresAt);
      if (batch.length > 0 && finishAt(batch.length + 1) > earliest) break;
      batch.push(next);
    }
    queue.shift();
  }
  return { batch, late };
}
