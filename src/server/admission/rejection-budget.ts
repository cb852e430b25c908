/**
 * How many rejections a second may be sent without holding any, to all connections together and to
 * each of them: an equal share. Pure logic; the caller passes the time and the budget.
 */

/** How long a rejected connection counts, at least; longer than a rejection is held. */
const EPOCH_MS = 4_000;

export class RejectionBudget {
  #tokens = 0;
  #at = Number.NEGATIVE_INFINITY;
  #epoch = -1;
  #seen = new Set<object>();
  #seenBefore = 0;

  /**
   * Refills the budget for the time since the last call, up to that of a second. Returns the share
   * of one connection, in rejections a second.
   */
  shareOf(connection: object, aSecond: number, now: number): number {
    this.#tokens = Math.min(aSecond, this.#tokens + ((now - this.#at) / 1000) * aSecond);
    this.#at = now;
    const epoch = Math.floor(now / EPOCH_MS);
    if (epoch !== this.#epoch) {
      this.#seenBefore = epoch === this.#epoch + 1 ? this.#seen.size : 0;
      this.#seen = new Set();
      this.#epoch = epoch;
    }
    this.#seen.add(connection);
    return aSecond / Math.max(this.#seen.size, this.#seenBefore);
  }

  /** Whether one rejection is left, for any connection. */
  get hasOne(): boolean {
    return this.#tokens >= 1;
  }

  /** One rejection is sent, from the budget or from the share of its connection. */
  spend(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }
}
