/**
 * The record of a call and that of an image. The serving code writes them along the path; metrics,
 * log and spans read them at the end. The serving code reads only the times, for scheduling and for
 * the answer. Times are monotonic milliseconds (`Clock.now`).
 */
import { randomUUID } from 'node:crypto';
import type { Reason } from '../../errors.js';

/** Returns the first value of a metadata key, where it is text. */
export type Header = (key: string) => string | undefined;

/** Of one image. What it costs: three small objects. */
export interface ImageRecord {
  /** When the image had arrived in full. */
  readonly cameAt: number;
  /** When it got its permit. */
  admittedAt: number;
  /** Infinity: no deadline. */
  readonly expiresAt: number;
  /** Null until the model of the request is known. */
  model: {
    readonly name: string;
    readonly version: string;
    readonly executionProvider: string;
  } | null;
  /** Null until it is decoded; `at`: when the front knew, `decodeMs`: as the decoder measured. */
  decoded: {
    readonly at: number;
    readonly decodeMs: number;
    readonly format: string;
    readonly decoder: string;
  } | null;
  /** Null until it has scores; `at`: when the front knew, `executionMs`: of the whole batch. */
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
 * All waiting of an executed image from `since` on, in milliseconds: for a decoder, for a batch,
 * and on the way between processes.
 */
export function queueMsOf({ decoded, executed }: ImageRecord, since: number): number {
  if (decoded === null || executed === null) return 0;
  return Math.max(0, executed.at - since - decoded.decodeMs - executed.executionMs);
}

/** The trace of one call. */
export interface CallTrace {
  readonly traceId: string;
  readonly spanId: string;
  /** One image of a stream was answered; without a reason: with its scores. */
  streamImage(image: ImageRecord, reason: Reason | null, at: number): void;
  end(call: EndedCall): void;
}

/** How a call ended, for its trace. `image`: of a unary call. */
interface EndedCall {
  readonly code: string;
  readonly reason: Reason | null;
  readonly requestId: string;
  readonly image: ImageRecord | null;
  readonly at: number;
}

const REQUEST_ID_KEY = 'x-request-id';
/** The characters of UUIDs, ULIDs and identifiers of proxies. Other text stays out of the log. */
const SANE_REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;
/** https://www.w3.org/TR/trace-context/#traceparent-header */
const TRACE_PARENT = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-[\da-f]{16}-[\da-f]{2}/;

/** The record of one call, from its headers to its status. */
export class CallRecord {
  readonly service: string;
  readonly method: string;
  readonly arrivedAt: number;
  /** Reads the caller's metadata; finds nothing until the headers are read. */
  header: Header = () => undefined;
  /** False for the server's own warm-up. */
  isAuthenticated = false;
  /** The image of a unary call, once it has its permit. */
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

  /** The id of the call from the caller (`x-request-id`), or a new one. */
  get requestId(): string {
    if (this.#requestId === null) {
      const given = this.header(REQUEST_ID_KEY);
      this.#requestId = given !== undefined && SANE_REQUEST_ID.test(given) ? given : randomUUID();
    }
    return this.#requestId;
  }

  /** Of this server's trace, else of the caller's; null: none. */
  get traceId(): string | null {
    return this.trace?.traceId ?? TRACE_PARENT.exec(this.header('traceparent') ?? '')?.[1] ?? null;
  }
}
