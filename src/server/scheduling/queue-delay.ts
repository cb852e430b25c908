/**
 * Whether a free process should wait for company of the images that there are, and for how long:
 * `max-queue-delay`.
 *
 * Waiting for one more image pays where the process then finishes more images in its time, the
 * waiting counted: (n + 1) / (gap + cost(n + 1)) > n / cost(n). So it never pays where a batch
 * costs as much as its images one by one (CPU), nor for a lone caller who sends the next image when
 * he has the answer. It ends when the next image is later than it could pay for, when
 * `maxQueueDelayMs` is over, or when the most urgent image would become late by it. Pure logic; the
 * caller says what time it is.
 */
import type { Arrivals } from './arrivals.js';
import type { CostTable } from './cost-table.js';

export class QueueDelay {
  readonly #maxQueueDelayMs: number;
  readonly #costs: CostTable;
  readonly #arrivals: Arrivals;
  #waitingSince: number | null = null;

  constructor(maxQueueDelayMs: number, costs: CostTable, arrivals: Arrivals) {
    this.#maxQueueDelayMs = maxQueueDelayMs;
    this.#costs = costs;
    this.#arrivals = arrivals;
  }

  /** A batch has gone. */
  ended(): void {
    this.#waitingSince = null;
  }

  /**
   * Milliseconds to hold `images` back; 0: they should go. `sharing` processes take turns with what
   * arrives; `schedulingDeadline` is that of the first image.
   */
  holdMs(images: number, sharing: number, schedulingDeadline: number, now: number): number {
    if (this.#maxQueueDelayMs === 0) return 0;
    const [cost, larger] = [this.#costs.of(images), this.#costs.of(images + 1)];
    if (cost === null || larger === null) return 0;
    const paysUpToMs = ((images + 1) * cost) / images - larger;
    if (sharing * this.#arrivals.meanGapMs > Math.min(paysUpToMs, this.#maxQueueDelayMs)) return 0;
    this.#waitingSince ??= now;
    const until = Math.min(
      this.#waitingSince + this.#maxQueueDelayMs,
      this.#arrivals.lastAt + paysUpToMs,
      schedulingDeadline - larger,
    );
    return Math.max(0, until - now);
  }
}
