/**
 * Forms the next batch: the waiting images with the smallest scheduling deadlines, as many as can
 * be executed together without making one of them late. An image that would be late anyway is not
 * executed: its answer is of no use, and others would wait for it.
 *
 * Where at least a full batch waits, an image that would be late in a full one is not executed
 * either. Small batches that rescue such images would make all images behind them late: at three
 * times the load that a GPU can take, that costs a third of its throughput
 * (docs/internals/decisions/0013-deadline-aware-scheduling.md). Pure logic.
 */
import type { DeadlineQueue, Ordered } from './deadline-queue.js';

export interface Expiring extends Ordered {
  /** Monotonic milliseconds; Infinity: no deadline. */
  readonly expiresAt: number;
}

/**
 * Takes the batch, and the images that are late, out of the queue.
 *
 * @param share the most images of the batch
 * @param least the batch size in which an image must be in time, if so many wait
 * @param finishAt when a batch of this size would be answered
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
