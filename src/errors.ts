/**
 * Every way in which vitserve says no, in one closed table.
 *
 * A `Reason` is part of the public contract: callers branch on it (`google.rpc.ErrorInfo.reason`),
 * so a reason is never renamed or reused. The table is mirrored in `docs/reference/errors.md`; a
 * contract test holds the two together. `server/rpc/status.ts` is the only place where a reason
 * becomes a gRPC status on the wire.
 */

export type StatusName =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'FAILED_PRECONDITION'
  | 'RESOURCE_EXHAUSTED'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'UNAUTHENTICATED'
  | 'INTERNAL';

interface ReasonEntry {
  readonly status: StatusName;
  /** The request field at fault, reported as a BadRequest field violation. */
  readonly field?: string;
  /** Whether the same call may well succeed later: RetryInfo and pushback are attached. */
  readonly retryable?: true;
}

export const REASONS = {
  IMAGE_EMPTY: { status: 'INVALID_ARGUMENT', field: 'image' },
  IMAGE_TOO_LARGE: { status: 'INVALID_ARGUMENT', field: 'image' },
  IMAGE_UNSUPPORTED: { status: 'INVALID_ARGUMENT', field: 'image' },
  IMAGE_UNDECODABLE: { status: 'INVALID_ARGUMENT', field: 'image' },
  IMAGE_QUARANTINED: { status: 'INVALID_ARGUMENT', field: 'image' },
  TOP_K_OUT_OF_RANGE: { status: 'INVALID_ARGUMENT', field: 'top_k' },
  DIMENSIONS_OUT_OF_RANGE: { status: 'INVALID_ARGUMENT', field: 'dimensions' },
  REQUEST_MISSING: { status: 'INVALID_ARGUMENT', field: 'request' },
  REQUEST_MALFORMED: { status: 'INVALID_ARGUMENT' },
  PAGE_INVALID: { status: 'INVALID_ARGUMENT', field: 'page_token' },
  MODEL_UNKNOWN: { status: 'NOT_FOUND', field: 'model' },
  EMBEDDING_UNSUPPORTED: { status: 'FAILED_PRECONDITION' },
  TOKEN_INVALID: { status: 'UNAUTHENTICATED' },
  OVERLOADED: { status: 'RESOURCE_EXHAUSTED', retryable: true },
  DEADLINE_UNREACHABLE: { status: 'RESOURCE_EXHAUSTED', retryable: true },
  UPLOAD_TIMEOUT: { status: 'DEADLINE_EXCEEDED' },
  STARTING: { status: 'UNAVAILABLE', retryable: true },
  DRAINING: { status: 'UNAVAILABLE', retryable: true },
  PROCESS_LOST: { status: 'UNAVAILABLE', retryable: true },
  DEADLINE_EXCEEDED: { status: 'DEADLINE_EXCEEDED' },
  CANCELLED: { status: 'CANCELLED' },
  INTERNAL: { status: 'INTERNAL' },
} as const satisfies Record<string, ReasonEntry>;

export type Reason = keyof typeof REASONS;

/** The table's row for a reason, with the optional columns readable on every row. */
export function describeReason(reason: Reason): ReasonEntry {
  return REASONS[reason];
}

/**
 * A request that is answered with an error of the table. `message` is for the caller: what is wrong
 * and what to do about it.
 */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly reason: Reason;
  /**
   * When the same call is worth trying again, in milliseconds from now; set for retryable reasons
   * where it is known.
   */
  readonly retryAfterMs: number | undefined;

  /** The request field at fault, where it is not the usual one of the reason. */
  readonly field: string | undefined;

  constructor(
    reason: Reason,
    message: string,
    options: { cause?: unknown; retryAfterMs?: number; field?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.retryAfterMs = options.retryAfterMs;
    this.field = options.field;
  }
}

/**
 * Anything thrown, as a RequestError. What is not one already is INTERNAL with generic text: its
 * cause is kept for the log and never reaches the wire.
 */
export function toRequestError(thrown: unknown): RequestError {
  if (thrown instanceof RequestError) return thrown;
  return new RequestError('INTERNAL', 'internal error: see the log of the server', {
    cause: thrown,
  });
}

/**
 * The server can't start or go on as it is set up. All problems found are listed at once, each with
 * its remedy.
 */
export class SetupError extends Error {
  override readonly name = 'SetupError';
  readonly problems: readonly string[];
  /**
   * `usage`: the settings themselves are wrong (exit code 2). `environment`: they are fine but
   * can't be met here (exit code 1).
   */
  readonly kind: 'usage' | 'environment';

  constructor(
    kind: 'usage' | 'environment',
    problems: readonly string[],
    options: { cause?: unknown } = {},
  ) {
    super(problems.join('\n'), options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.problems = problems;
  }
}

/**
 * All problems of several failures as one SetupError. Another kind of failure takes precedence and
 * is returned as it is.
 */
export function mergeSetupErrors(failures: readonly unknown[]): unknown {
  const foreign = failures.find((failure) => !(failure instanceof SetupError));
  if (foreign !== undefined) return foreign;
  const setup = failures as readonly SetupError[];
  const kind = setup.some((failure) => failure.kind === 'usage') ? 'usage' : 'environment';
  return new SetupError(
    kind,
    setup.flatMap(({ problems }) => problems),
  );
}

/**
 * The values of all promises, once all have settled. Where some reject it throws their problems
 * merged (`mergeSetupErrors`).
 */
export async function allOrProblems<Promises extends readonly unknown[] | []>(
  promises: Promises,
): Promise<{ -readonly [Key in keyof Promises]: Awaited<Promises[Key]> }> {
  const settled = await Promise.allSettled(promises);
  const failures = settled.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  );
  if (failures.length > 0) throw mergeSetupErrors(failures);
  return await Promise.all(promises);
}

/** The text of anything thrown, for logs and for messages to operators. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
