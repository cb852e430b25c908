/**
 * Which image goes first: the one with the smallest scheduling deadline, which is a time.
 *
 * - That of a unary call is its deadline, but at most OVERTAKING_LIMIT_MS after its arrival. So the
 *   earliest deadline goes first; an image is passed over only by images that came no more than
 *   that much later, and one that has waited for so long by none that came after it.
 * - An image of a stream counts as a unary call without a deadline that came OVERTAKING_LIMIT_MS
 *   later: it goes behind every unary call that comes within that time, and is passed over by none
 *   that comes more than twice that time later.
 */

/**
 * How much later a more urgent image may come and still go first. A little longer than the queue
 * that the permits allow (`SECONDS_OF_WORK`): with less, calls without a deadline could fill the
 * queue so far that those with a near one find no time in it.
 */
export const OVERTAKING_LIMIT_MS = 5_000;

export interface Arrival {
  /** Monotonic milliseconds. `expiresAt` is Infinity where there is no deadline. */
  readonly record: { readonly admittedAt: number; readonly expiresAt: number };
  /** An image of a stream, which can wait. */
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
