/**
 * What is written down of a call and of an image while they go, and read once at the end: by the
 * metrics, the log and the spans. Nothing that serves a call reads it, but for the times that an
 * answer carries. Times are monotonic milliseconds (`Clock.now`).
 */
import { randomUUID } from 'node:crypto';
import type { Reason } from '../../errors.js';

/** The first value that a call's metadata has under a key, where it is text. */
export type Header = (key: string) => string | undefined;

/** Of one image. What it costs: three small objects. */
export interface ImageRecord {
  /** When the image was there in full. */
  readonly cameAt: number;
  /** When it got its permit. */
  admittedAt: number;
  /** Infinity: no deadline. */
  readonly expiresAt: number;
  /** Null until it is known which model is asked. */
  model: {
    readonly name: string;
    readonly version: string;
    readonly executionProvider: string;
  } | null;
  /**
   * Null until its pixels are there; `at` is when the front was told, `decodeMs` what the decoder
   * process took.
   */
  decoded: {
    readonly at: number;
    readonly decodeMs: number;
    readonly format: string;
    readonly decoder: string;
  } | null;
  /** Null until it has scores; the times as above. */
  executed: {
    readonly at: number;
    readonly executionMs: number;
    readonly batchSize: number;
  } | null;
}

export function newImageRecord(cameAt: number, expiresAt = Number.POSITIVE_INFINITY): ImageRecord {
  return { cameAt, admittedAt: cameAt, expiresAt, model: null, decoded: null, executed: null };
}

/**
 * All waiting of an image that was executed, in milliseconds: for a decoder, for a batch, and on
 * the way between processes; from `since` on.
 */
export function queueMsOf({ decoded, executed }: ImageRecord, since: number): number {
  if (decoded === null || executed === null) return 0;
  return Math.max(0, executed.at - since - decoded.decodeMs - executed.executionMs);
}

/** The trace of one call. */
export interface CallTrace {
  readonly traceId: string;
  readonly spanId: string;
  /** One image of a stream has been answered; no reason: well. */
  streamImage(image: ImageRecord, reason: Reason | null, at: number): void;
  end(call: EndedCall): void;
}

/** How a call has ended, for its trace. `image`: of a unary call. */
interface EndedCall {
  readonly code: string;
  readonly reason: Reason | null;
  readonly requestId: string;
  readonly image: ImageRecord | null;
  readonly at: number;
}

const REQUEST_ID_KEY = 'x-request-id';
/**
 * What UUIDs, ULIDs and the identifiers of proxies are made of. Anything else is not taken over
 * into the log.
 */
const SANE_REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;
/** https://www.w3.org/TR/trace-context/#traceparent-header */
const TRACE_PARENT = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-[\da-f]{16}-[\da-f]{2}/;

/** Of one call, from its headers to its status. */
export class CallRecord {
  readonly service: string;
  readonly method: string;
  readonly arrivedAt: number;
  /** The caller's metadata; none until the headers are read. */
  header: Header = () => undefined;
  /** A caller's, and not of the server's own warm-up. */
  isAuthenticated = false;
  /** Of a unary call, once it has its permit. */
  image: ImageRecord | null = null;
  /** Null where the call is not traced. */
  trace: CallTrace | null = null;
  #requestId: string | null = null;

  /** @param path `/SERVICE/METHOD` */
  constructor(path: string, arrivedAt: number) {
    const slash = path.lastIndexOf('/');
    this.service = path.slice(1, slash);
    this.method = path.slice(slash + 1);
    this.arrivedAt = arrivedAt;
  }

  /** The caller's name for the call (`x-request-id`), or else one of the server's own. */
  get requestId(): string {
    if (this.#requestId === null) {
      const given = this.header(REQUEST_ID_KEY);
      this.#requestId = given !== undefined && SANE_REQUEST_ID.test(given) ? given : randomUUID();
    }
    return this.#requestId;
  }

  /** The caller's, where the call is not traced here; null: none. */
  get traceId(): string | null {
    return this.trace?.traceId ?? TRACE_PARENT.exec(this.header('traceparent') ?? '')?.[1] ?? null;
  }
}
