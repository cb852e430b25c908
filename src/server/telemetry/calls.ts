/**
 * One call as it is seen from outside, from its headers to its status: what becomes of it is
 * counted, logged and traced here. `rpc/` tells of it through these interfaces.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../clock.js';
import type { Reason } from '../../errors.js';
import type { ImageRecord } from '../pipeline/image-record.js';
import { CallLog, type LoggedCall } from './call-log.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import type { CallTrace, Header, Tracing } from './tracing.js';

export interface CallObserver {
  /** A call has come in. `path` is `/SERVICE/METHOD`. */
  callBegan(path: string, arrivedAt: number): OngoingCall;
}

/** Codes are names of gRPC statuses. */
export interface OngoingCall {
  /** What the caller calls it (`x-request-id`), or else a name of the server's own. */
  readonly requestId: string;
  headersReceived(header: Header): void;
  /**
   * The caller is who he should be, so the call may be traced. Not to be told of the server's own
   * warm-up.
   */
  authenticated(): void;
  /** The call's one image has come, and has its permit. */
  imageReceived(image: ImageRecord): void;
  /** One image of a stream was answered. */
  streamImageEnded(image: ImageRecord, code: string, reason: Reason | null): void;
  /** The call, or an image of it, failed through a fault of the server; `cause` is for the log. */
  failed(cause: unknown): void;
  ended(code: string, reason: Reason | null): void;
}

export interface CallObserverOptions {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  /** Null: nothing is traced. */
  readonly tracing: Tracing | null;
  /** Of answered calls every so-many-th is logged; 0: none. */
  readonly logSample: number;
  /** The full name of the service whose calls are logged and traced. */
  readonly service: string;
}

const REQUEST_ID_KEY = 'x-request-id';
/**
 * What UUIDs, ULIDs and the identifiers of proxies are made of. Anything else is not taken over
 * into the log.
 */
const SANE_REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;
/** https://www.w3.org/TR/trace-context/#traceparent-header */
const TRACE_PARENT = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-[\da-f]{16}-[\da-f]{2}/;

export function createCallObserver(options: CallObserverOptions): CallObserver {
  const callLog = new CallLog(options.log, options.clock, options.logSample);
  return { callBegan: (path, arrivedAt) => new ObservedCall(options, callLog, path, arrivedAt) };
}

class ObservedCall implements OngoingCall, LoggedCall {
  readonly method: string;
  readonly isOwn: boolean;
  isAuthenticated = false;
  image: ImageRecord | null = null;
  readonly #options: CallObserverOptions;
  readonly #callLog: CallLog;
  readonly #arrivedAt: number;
  #header: Header = () => undefined;
  #requestId: string | null = null;
  #trace: CallTrace | null = null;

  constructor(options: CallObserverOptions, callLog: CallLog, path: string, arrivedAt: number) {
    const slash = path.lastIndexOf('/');
    this.method = path.slice(slash + 1);
    this.isOwn = path.slice(1, slash) === options.service;
    this.#options = options;
    this.#callLog = callLog;
    this.#arrivedAt = arrivedAt;
  }

  get requestId(): string {
    if (this.#requestId === null) {
      const given = this.#header(REQUEST_ID_KEY);
      this.#requestId = given !== undefined && SANE_REQUEST_ID.test(given) ? given : randomUUID();
    }
    return this.#requestId;
  }

  /** The caller's, where the call is not traced here. */
  get traceId(): string | null {
    return (
      this.#trace?.traceId ?? TRACE_PARENT.exec(this.#header('traceparent') ?? '')?.[1] ?? null
    );
  }

  get spanId(): string | null {
    return this.#trace?.spanId ?? null;
  }

  headersReceived(header: Header): void {
    this.#header = header;
  }

  authenticated(): void {
    this.isAuthenticated = true;
    const { tracing, service } = this.#options;
    if (tracing === null || !this.isOwn) return;
    this.#trace = tracing.begin(service, this.method, this.#arrivedAt, this.#header);
  }

  imageReceived(image: ImageRecord): void {
    this.image = image;
  }

  streamImageEnded(image: ImageRecord, code: string, reason: Reason | null): void {
    const { metrics, clock } = this.#options;
    metrics.streamImages.inc({ code, reason: reason ?? '' });
    if (this.#trace !== null) this.#trace.streamImage(image, reason, clock.now());
  }

  failed(cause: unknown): void {
    this.#callLog.failed(this, cause);
  }

  ended(code: string, reason: Reason | null): void {
    const { metrics, clock } = this.#options;
    const now = clock.now();
    const durationMs = now - this.#arrivedAt;
    metrics.requests.inc({ method: this.method, code, reason: reason ?? '' });
    metrics.requestDuration.observe({ method: this.method }, durationMs / 1000);
    this.#callLog.ended(this, code, reason, durationMs);
    if (this.#trace !== null)
      this.#trace.end({ code, reason, requestId: this.requestId, image: this.image, at: now });
  }
}
