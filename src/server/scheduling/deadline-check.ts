/**
 * The rejection of an image that cannot be answered in time. Its message says how much time would
 * be enough.
 */
import { RequestError } from '../../errors.js';

/**
 * Safety factor on an estimate. Half of the time things take longer than their mean, more often
 * where others use the same cores, and an answer a little late costs as much as one in time
 * (docs/internals/decisions/0013-deadline-aware-scheduling.md).
 */
const MARGIN = 1.25;

const SHORTEST_RETRY_MS = 10;
const LONGEST_RETRY_MS = 5_000;

/**
 * Null where an answer estimated in `finishMs` meets the deadline in `leftMs`, both from now.
 */
export function rejectionOf(finishMs: number, leftMs: number): RequestError | null {
  const neededMs = MARGIN * finishMs;
  return neededMs > leftMs ? deadlineUnreachable(neededMs, leftMs) : null;
}

/**
 * DEADLINE_UNREACHABLE, or DEADLINE_EXCEEDED where the deadline has passed.
 *
 * @param neededMs the shortest deadline that would be enough, from now
 * @param leftMs milliseconds until the deadline, from now
 */
export function deadlineUnreachable(neededMs: number, leftMs: number): RequestError {
  if (leftMs <= 0)
    return new RequestError(
      'DEADLINE_EXCEEDED',
      'the deadline passed before work on the image began',
    );
  const text =
    `the deadline is in ${Math.floor(leftMs)} ms and can't be met: ` +
    `the call needs ${Math.ceil(neededMs)} ms at the current load: ` +
    'allow that much, or call another instance';
  // By then the queue is shorter by as much as the answer would be late.
  const retryAfterMs = Math.min(
    Math.max(Math.ceil(neededMs - leftMs), SHORTEST_RETRY_MS),
    LONGEST_RETRY_MS,
  );
  return new RequestError('DEADLINE_UNREACHABLE', text, { retryAfterMs });
}
