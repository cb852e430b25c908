/**
 * Who goes first: the image with the smallest scheduling deadline, which is a time.
 *
 * - A unary call's is its deadline, but at most `OVERTAKING_LIMIT_MS` after its arrival. So the
 *   earliest deadline goes first; an image is passed over only by images that came no more than
 *   that much later, and one that has waited for so long by none that came after it (those that
 *   could have been more urgent have expired).
 * - An image of a stream counts as a unary call without a deadline that came `OVERTAKING_LIMIT_MS`
 *   later: it goes behind every unary call that comes within that time, and is passed over by none
 *   that comes more than twice that time later.
 */

/**
 * A little longer than the queue that `permits` lets in (`SECONDS_OF_WORK`): with less, calls
 * without a deadline could fill the queue so far that those with a near one find no time in it.
 */
export const OVERTAKING_LIMIT_MS = 5_000;

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
  overtakingLimitMs = OVERTAKING_LIMIT_MS,
): number {
  return ofStream
    ? arrivedAt + 2 * overtakingLimitMs
    : Math.min(expiresAt, arrivedAt + overtakingLimitMs);
}
