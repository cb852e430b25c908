/**
 * The refusal of an image that could not be answered in time, which says what time would have been
 * enough.
 */
import { RequestError } from '../../errors.js';

/**
 * What a prediction is taken times: half of the time things take longer than their mean, more often
 * where others use the same cores, and an answer that is a little late has cost as much as one in
 * time (docs/decisions/0016-deadline-aware-scheduling.md).
 */
const MARGIN = 1.25;

const SHORTEST_RETRY_MS = 10;
const LONGEST_RETRY_MS = 5_000;

/**
 * Null where an answer predicted in `finishMs` makes the deadline in `leftMs`, both from now on.
 */
export function rejectionOf(finishMs: number, leftMs: number): RequestError | null {
  const neededMs = MARGIN * finishMs;
  return neededMs > leftMs ? deadlineUnreachable(neededMs, leftMs) : null;
}

/**
 * `neededMs`: the shortest deadline that would do, from now on, as `leftMs` is; one that has passed
 * is no longer out of reach but over.
 */
export function deadlineUnreachable(neededMs: number, leftMs: number): RequestError {
  if (leftMs <= 0)
    return new RequestError(
      'DEADLINE_EXCEEDED',
      'the deadline passed before the image was worked on',
    );
  const text =
    `the deadline is in ${Math.floor(leftMs)} ms and can't be met: with ${Math.ceil(neededMs)} ms it could be, ` +
    'as things are: allow that much, or call another instance';
  // By then the queue will be as much shorter as the answer would have been late.
  const retryAfterMs = Math.min(
    Math.max(Math.ceil(neededMs - leftMs), SHORTEST_RETRY_MS),
    LONGEST_RETRY_MS,
  );
  return new RequestError('DEADLINE_UNREACHABLE', text, { retryAfterMs });
}
