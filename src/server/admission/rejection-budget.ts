/**
 * How many rejections a second may be sent without any being held, to all connections together and
 * to each of them: an equal share. Pure logic; the caller says what time it is and how much can be
 * afforded.
 */

/**
 * For how long a connection counts as one that is being rejected, at least; longer than a rejection
 * is held.
 */
const EPOCH_MS = 4_000;

export class RejectionBudget {
  #tokens = 0;
  #at = Number.NEGATIVE_INFINITY;
  #epoch = -1;
  #seen = new Set<object>();
  #seenBefore = 0;

  /**
   * Fills up by what came since the last time, with a second's worth at most. Returns the share of
   * one connection, a second.
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

  /** Whether there is one left for anybody. */
  get hasOne(): boolean {
    return this.#tokens >= 1;
  }

  /** One is sent. Also those that a connection's share pays for count here. */
  spend(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }
}
