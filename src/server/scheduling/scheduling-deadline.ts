/**
 * The order of images: the smallest scheduling deadline, a time, goes first.
 *
 * - For a unary call it is the deadline of the call, but at most OVERTAKING_LIMIT_MS after its
 *   arrival. So the earliest deadline goes first, and only images that arrive at most that much
 *   later can overtake an image.
 * - An image of a stream counts as a unary call without a deadline that arrives OVERTAKING_LIMIT_MS
 *   later. Every unary call that arrives within that time goes first, and none that arrives more
 *   than twice that time later.
 */

/**
 * How much later an image with an earlier deadline may arrive and still go first. A little longer
 * than the queue that the permits allow (`SECONDS_OF_WORK`): with less, calls without a deadline
 * could fill the queue so far that calls with a near one cannot meet it.
 */
export const OVERTAKING_LIMIT_MS = 5_000;

export interface Arrival {
  /** Monotonic milliseconds. `expiresAt` is Infinity without a deadline. */
  readonly record: { readonly admittedAt: number; readonly expiresAt: number };
  /** Images of a stream can wait. */
  readonly ofStream: boolean;
}

export function schedulingDeadlineOf(
  { record: { admittedAt, expiresAt }, ofStream }: Arrival,
  overtakingLimitMs = OVERTAKING_LIMIT_MS,
): number {
  return ofStream
    ? admittedAt + 2 * overtakingLimitMs
    : Math.min(expiresAt, admittedAt + overtakingLimitMs);
}
