/**
 * When an image that came now would be answered, if nobody more urgent came after it: the processes
 * take batches as the dispatcher gives them out, each as soon as it is free. Who comes later is not
 * before it, but fills up its batch.
 *
 * Only the last round is played through; full rounds before it (every process one full batch) are
 * counted. So it takes as long as there are processes, however many images wait. Pure logic.
 */
import type { CostTable } from './cost-table.js';

/**
 * @returns milliseconds from now; null where nobody can tell: no process takes batches, or no cost
 *   is known
 */
export function estimateCompletionMs(now: {
  /** For each process that takes batches: milliseconds until it has done what it has been given. */
  readonly freeInMs: readonly number[];
  /** Images that are executed before everything else, each alone. */
  readonly alone: number;
  /** Images that go before the one that is asked about. */
  readonly ahead: number;
  readonly maxBatchSize: number;
  /** Mean time between two arrivals. */
  readonly gapMs: number;
  readonly costs: CostTable;
}): number | null {
  const { freeInMs, alone, ahead, maxBatchSize, gapMs, costs } = now;
  const cost = (images: number) => costs.of(images) ?? 0;
  if (freeInMs.length === 0 || costs.rows.length === 0) return null;
  const round = freeInMs.length * maxBatchSize;
  const rounds = Math.floor(ahead / round);
  const free = freeInMs
    .map((ms) => ms + rounds * cost(maxBatchSize))
    .sort((one, other) => one - other);
  const busyUntil = (ms: number) => {
    const later = free.findIndex((other) => other > ms);
    free.splice(later < 0 ? free.length : later, 0, ms);
  };
  for (let image = 0; image < alone; image++) busyUntil((free.shift() as number) + cost(1));
  for (let left = ahead + 1 - rounds * round; ; ) {
    const begin = free.shift() as number;
    const later = free.findIndex((other) => other > begin);
    const sharing = 1 + (later < 0 ? free.length : later);
    const size = Math.min(maxBatchSize, Math.ceil(left / sharing));
    left -= size;
    if (left <= 0) {
      const joining = begin > 0 ? Math.floor(begin / gapMs) : 0;
      return begin + cost(Math.min(maxBatchSize, size + joining));
    }
    busyUntil(begin + cost(size));
  }
}
