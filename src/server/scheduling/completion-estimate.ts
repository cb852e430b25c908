/**
 * Estimates when an image that arrives now would be answered, if none with a smaller scheduling
 * deadline follows. It assumes that processes take batches as the dispatcher forms them, each as
 * soon as it is free. Later images do not overtake this one, but fill up its batch.
 *
 * It simulates only the last round, and counts the full rounds before it (one full batch for every
 * process). So its time depends on the number of processes, not of waiting images. Pure logic.
 */
import type { CostTable } from './cost-table.js';

/**
 * @returns milliseconds from now; null: unknown, because no process takes batches or no cost is
 *   known
 */
export function estimateCompletionMs(now: {
  /** For each process that takes batches: milliseconds until it finishes what it has. */
  readonly freeInMs: readonly number[];
  /** Images that go before all others, each alone. */
  readonly alone: number;
  /** Images that go before this one. */
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
