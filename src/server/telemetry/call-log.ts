/**
 * Decides which calls are logged: failed calls, with a limit on the lines of each reason, and
 * optionally a sample of the answered calls. Health checks and reflection are logged only at the
 * debug level.
 *
 * What it costs an answered call: a count.
 */
import type { Clock } from '../../clock.js';
import type { Reason } from '../../errors.js';
import { LineLimit } from './line-limit.js';
import type { Logger } from './log.js';
import type { CallRecord } from './record.js';
import { rounded, timesOf } from './stages.js';

/** Lines of one reason in a window. */
const LINES = 10;
const WINDOW_MS = 10_000;

/** Reasons for the operator: the server was too full, too slow, or broken. */
const WARNINGS: ReadonlySet<Reason> = new Set<Reason>([
  'OVERLOADED',
  'DEADLINE_UNREACHABLE',
  'DEADLINE_EXCEEDED',
  'PROCESS_LOST',
  'INTERNAL',
]);

export class CallLog {
  readonly #log: Logger;
  readonly #sample: number;
  readonly #service: string;
  readonly #limit: LineLimit;
  #answered = 0;

  /**
   * `sample`: one in this many answered calls is logged; 0: none. Calls of other services than
   * `service` are logged only at the debug level.
   */
  constructor(log: Logger, clock: Clock, sample: number, service: string) {
    this.#log = log;
    this.#sample = sample;
    this.#service = service;
    this.#limit = new LineLimit({
      clock,
      lines: LINES,
      windowMs: WINDOW_MS,
      onWithheld: (reason, calls) =>
        log.info({ reason, calls, seconds: WINDOW_MS / 1000 }, 'more calls ended like it'),
    });
  }

  ended(call: CallRecord, code: string, reason: Reason | null, durationMs: number): void {
    const log = this.#log;
    switch (this.#levelOf(call, code, reason)) {
      case 'info':
        log.info(fieldsOf(call, code, reason, durationMs), 'call ended');
        return;
      case 'warn':
        log.warn(fieldsOf(call, code, reason, durationMs), 'call ended');
        return;
      default:
        if (log.isLevelEnabled('debug'))
          log.debug(fieldsOf(call, code, reason, durationMs), 'call ended');
    }
  }

  /** The call failed by a fault of the server. Its end, which follows, gets no further line. */
  failed(call: CallRecord, cause: unknown): void {
    if (!this.#limit.allows('INTERNAL')) return;
    this.#log.error({ method: call.method, ...aboutOf(call), err: cause }, 'call failed');
  }

  #levelOf(
    { service, isAuthenticated }: CallRecord,
    code: string,
    reason: Reason | null,
  ): 'info' | 'warn' | 'debug' {
    if (service !== this.#service) return 'debug';
    if (code === 'OK') {
      if (!isAuthenticated) return 'debug';
      this.#answered++;
      return this.#sample > 0 && this.#answered % this.#sample === 0 ? 'info' : 'debug';
    }
    // `failed` has logged it with its cause.
    if (reason === 'INTERNAL') return 'debug';
    if (!this.#limit.allows(reason ?? code)) return 'debug';
    return reason !== null && WARNINGS.has(reason) ? 'warn' : 'info';
  }
}

function fieldsOf(
  call: CallRecord,
  code: string,
  reason: Reason | null,
  durationMs: number,
): object {
  return {
    method: call.method,
    code,
    reason,
    durationMs: rounded(durationMs),
    ...aboutOf(call),
    ...(call.image === null ? {} : timesOf(call.image)),
  };
}

function aboutOf({ requestId, traceId, trace, image }: CallRecord): object {
  const model = image?.model ?? null;
  return {
    requestId,
    ...(traceId === null ? {} : { traceId }),
    ...(trace === null ? {} : { spanId: trace.spanId }),
    ...(model === null ? {} : { model: `${model.name}/${model.version}` }),
  };
}
