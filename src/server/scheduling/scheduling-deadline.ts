/**
 * Who goes first: the image with the smallest scheduling deadline, which is a time.
 *
 * - A unary call's is its deadline, but at most `overtakingLimitMs` after its arrival. So the
 *   earliest deadline goes first; an image is passed over only by images that came no more than
 *   that much later, and one that has waited for so long by none that came after it (those that
 *   could have been more urgent have expired).
 * - An image of a stream counts as a unary call without a deadline that came `overtakingLimitMs`
 *   later: it goes behind every unary call that comes within that time, and is passed over by none
 *   that comes more than twice that time later.
 */
export interface Arrival {
  /** Monotonic milliseconds. */
  readonly arrivedAt: number;
  /** Monotonic milliseconds; Infinity where there is no deadline. */
  readonly expiresAt: number;
  /** An image of a stream, whose caller can wait. */
  readonly ofStream: boolean;
}

export function schedulingDeadlineOf(
  { arrivedAt, expiresAt, ofStream }: Arrival,
  overtakingLimitMs: number,
): number {
  return ofStream
    ? arrivedAt + 2 * overtakingLimitMs
    : Math.min(expiresAt, arrivedAt + overtakingLimitMs);
}
