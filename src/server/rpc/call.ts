/**
 * One call from its headers to its status: what it holds, and when it gives that back.
 *
 * Headers → upload → permit → work → status. Most rejections come at the headers, before any of the
 * body is read: a large upload is reset, not read to its end. What a call holds depends on its kind
 * and its state:
 *
 * - A unary image: an upload allowance, which becomes a permit when the body is complete, or
 *   OVERLOADED where there is none left.
 * - A stream of images: a place among the streams. Each message takes an upload allowance, or waits
 *   for one, when its first byte is read. The images take their permits themselves
 *   (`image-stream.ts`).
 * - Any other call (health, reflection, questions about models): a place among the others, a small
 *   message, and the same time to send it.
 *
 * So callers can make the front hold at most (3 × permits) × `max-image-bytes`, and for waiting
 * streams and other calls MOST_STREAMS × STREAM_WINDOW_BYTES + MOST_OTHERS × OTHER_MESSAGE_BYTES.
 * `#giveBack` gives back what is left when the call ends.
 *
 * The call also records its end, because it alone sees every way of ending: answers, errors, the
 * deadline that grpc-js answers by itself, cancellation.
 */
import {
  status as grpcStatus,
  type Metadata,
  type ServerInterceptingCallInterface,
  type sendUnaryData,
} from '@grpc/grpc-js';
import type { Clock } from '../../clock.js';
import { SERVICE_NAME } from '../../contract/contract.js';
import { type Reason, RequestError, toRequestError } from '../../errors.js';
import type { StreamUpload, Upload } from '../admission/admission.js';
import type { Permit } from '../admission/permits.js';
import type { RejectionThrottle } from '../admission/rejection-throttle.js';
import type { Engine } from '../engine.js';
import type { ImageRequest } from '../pipeline/pipeline.js';
import type { Report } from '../telemetry/events.js';
import { CallRecord, type ImageRecord, newImageRecord } from '../telemetry/record.js';
import { type Rejection, StreamMessages } from '../transport/stream-messages.js';
import {
  type CallEnding,
  connectionOf,
  interceptStatus,
  limitMessages,
  resetStream,
} from '../workarounds/base-call.js';
import { cutMessages, holdBody, watchBody } from '../workarounds/body.js';
import { checkTimeout } from '../workarounds/timeouts.js';
import { Pace } from './pace.js';
import {
  type CallStatus,
  isOfTransport,
  reasonOf,
  toCallStatus,
  withReason,
  withRequestId,
} from './status.js';

export type CallKind = 'image' | 'stream' | 'other';

/** What the server knows of an image with a permit, besides what its request says. */
export type AdmittedImage = Pick<ImageRequest, 'slot' | 'ofStream' | 'signal' | 'record'>;

/** The images of a stream, as its call sees them. */
export interface OpenStream {
  /** Ends the call after the images taken so far are answered. False: it is already ending. */
  endInOrder(ending: CallEnding): boolean;
  /** Ends the call now. */
  end(ending: CallEnding): void;
}

/** What all calls of a port share. */
export interface CallContext {
  readonly engine: Pick<Engine, 'permits' | 'admission' | 'checkDeadline'>;
  readonly clock: Clock;
  readonly report: Report;
  readonly throttle: RejectionThrottle;
  readonly maxImageBytes: number;
  readonly uploadTimeoutMs: number;
  /** Calls with this token are admitted while the server is starting. */
  readonly warmUpToken: string;
  /** Throws RequestError where the token is missing or invalid. Health needs no token. */
  readonly authenticate: (metadata: Metadata) => void;
  /** The kind of a call, by its path; default: `kindOf`. */
  readonly kindOf?: (path: string) => CallKind;
  /** Calls that have not ended. */
  readonly open: OpenCalls;
}

/** Metadata key that admits the server's own first calls while it is starting. */
export const WARM_UP_KEY = 'vitserve-warm-up';
const HEALTH_PATH = '/grpc.health.v1.Health/';

/** Open at a time, over all connections. */
export const MOST_STREAMS = 256;
export const MOST_OTHERS = 4096;
/** A question about a model or a service has a name or two. */
export const OTHER_MESSAGE_BYTES = 16 * 1024;
/** Of all keys and values of a call; other gRPC servers have the same limit. */
const MOST_METADATA_BYTES = 16 * 1024;
const FULL_RETRY_MS = 1_000;
/** How long a cancellation may take to follow the end of an incomplete body. */
const CANCELLATION_MS = 20;

/**
 * Reasons after which callers should retry this server later. A server that stops sends its callers
 * elsewhere, at once.
 */
const THROTTLED: readonly Reason[] = ['OVERLOADED', 'DEADLINE_UNREACHABLE', 'STARTING'];

const UNARY_IMAGE_PATHS = new Set([`/${SERVICE_NAME}/Classify`, `/${SERVICE_NAME}/Embed`]);
const STREAM_PATHS = new Set([`/${SERVICE_NAME}/ClassifyStream`, `/${SERVICE_NAME}/EmbedStream`]);

export function kindOf(path: string): CallKind {
  if (STREAM_PATHS.has(path)) return 'stream';
  return UNARY_IMAGE_PATHS.has(path) ? 'image' : 'other';
}

/** The open calls of a port, and how many of them hold a place. */
export class OpenCalls extends Set<Call> {
  streams = 0;
  others = 0;
}

const calls = new WeakMap<Metadata, Call>();

export class Call {
  readonly kind: CallKind;
  readonly record: CallRecord;
  /** Monotonic milliseconds; Infinity: no deadline. */
  readonly expiresAt: number;
  /** Has the messages of a stream read one by one; null for other calls. */
  readonly pace: Pace | null;
  readonly #context: CallContext;
  readonly #path: string;
  /** The method takes a stream of messages. */
  readonly #hasManyMessages: boolean;
  readonly #inner: ServerInterceptingCallInterface;
  readonly #connection: object;
  readonly #messages: StreamMessages | null;
  readonly #abort = new AbortController();
  #state: 'headers' | 'uploading' | 'admitted' | 'ended' = 'headers';
  #upload: Upload | StreamUpload | null = null;
  /** Ends the wait of the stream's body for an allowance. */
  #releaseBody = () => {};
  /** Streams: the next message is wanted and has not come. */
  #isReading = false;
  #permit: Permit | null = null;
  /** Meanwhile processes may write into the permit's slot. */
  #isWorking = false;
  #hasMessage = false;
  #hasBody = false;
  #images: OpenStream | null = null;
  #closeConnectionCall: () => void;
  #cancelTimer = () => {};

  /** @param inner the innermost call, the one that grpc-js itself uses */
  constructor(
    context: CallContext,
    { path, requestStream }: { readonly path: string; readonly requestStream: boolean },
    inner: ServerInterceptingCallInterface,
  ) {
    this.#context = context;
    this.#path = path;
    this.#hasManyMessages = requestStream;
    this.#inner = inner;
    this.kind = (context.kindOf ?? kindOf)(path);
    const now = context.clock.now();
    this.record = new CallRecord(path, now);
    // grpc-js has just added the timeout to the wall clock, which may be set while the call is open.
    this.expiresAt = now + Number(inner.getDeadline()) - Date.now();
    this.pace = this.kind === 'stream' ? new Pace() : null;
    this.#messages = this.kind === 'stream' ? this.#cutMessages() : null;
    this.#connection = connectionOf(inner);
    this.#closeConnectionCall = context.throttle.callBegan(this.#connection);
    context.open.add(this);
    interceptStatus(inner, (status) => this.#onStatus(status));
  }

  /** Finds the call of a handler by its Metadata object, which grpc-js passes on unchanged. */
  static of({ metadata }: { readonly metadata: Metadata }): Call {
    const call = calls.get(metadata);
    if (call === undefined) throw new Error('the call did not come through the interceptor');
    return call;
  }

  /** Aborted when the call ends before its work does; the reason is a RequestError. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Returns whether the call goes on. */
  onHeaders(metadata: Metadata): boolean {
    try {
      this.#accept(metadata);
    } catch (error) {
      this.#rejectThrottled(error, true);
      return false;
    }
    calls.set(metadata, this);
    return true;
  }

  /** A stream wants its next message; `read` has grpc-js read it. */
  onRead(read: () => void): void {
    this.#isReading = true;
    read();
    // Its beginning may have come in one piece with the message before.
    if (this.#isReading && this.#messages?.isWithinMessage === true) this.#onPiece();
  }

  onMessage(message: object): void {
    this.#hasMessage = true;
    this.#isReading = false;
    this.#messages?.onMessage(message);
    // A call with one message does nothing before its caller has ended its side as well.
    if (this.kind === 'stream') this.#endUpload();
    else if (this.#hasManyMessages) this.#cancelTimer();
  }

  /** The caller has sent everything; `proceed` calls the handler. */
  onHalfClose(proceed: () => void): void {
    if (this.#state === 'ended') return;
    if (this.kind === 'image' && !this.#hasMessage) {
      // A call cancelled within its message looks like one without a message, until `onCancel`
      // follows a moment later.
      this.#context.clock.after(CANCELLATION_MS, () => this.#state !== 'ended' && proceed());
      return;
    }
    this.#hasBody = true;
    try {
      if (this.kind === 'image') this.#permit = (this.#upload as Upload).admit();
    } catch (error) {
      this.#rejectThrottled(error, false);
      return;
    }
    if (this.kind === 'other') this.#cancelTimer();
    if (this.#state === 'uploading') this.#state = 'admitted';
    proceed();
    // grpc-js calls no handler where it found no message.
    if (this.kind === 'image' && !this.#isWorking) this.#giveBack();
  }

  onCancel(): void {
    if (this.#isExpired) this.#end(grpcStatus.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED');
    else this.#end(grpcStatus.CANCELLED, 'CANCELLED');
  }

  /** Works on the call's image with its permit, and replies. */
  answer<Response>(
    reply: sendUnaryData<Response>,
    work: (image: AdmittedImage) => Promise<Response>,
  ): void {
    const permit = this.#permit;
    if (permit === null) throw new Error('the call has no permit');
    this.#isWorking = true;
    const record = newImageRecord(this.#context.clock.now(), this.expiresAt);
    this.record.image = record;
    const settle = (send: () => void) => {
      this.#isWorking = false;
      this.#giveBack();
      if (this.#state !== 'ended') send();
    };
    work({ slot: permit.slot, ofStream: false, signal: this.signal, record }).then(
      (response) => settle(() => reply(null, response)),
      (thrown: unknown) => {
        // Also where nobody waits for the status: a fault of the server is logged.
        const status = this.failure(thrown);
        settle(() => reply(status));
      },
    );
  }

  /** Replies at once. */
  reply<Response>(reply: sendUnaryData<Response>, respond: () => Response): void {
    try {
      reply(null, respond());
    } catch (thrown) {
      reply(this.failure(thrown));
    }
  }

  /** The status for anything thrown. A fault of the server is logged with its cause. */
  failure(thrown: unknown): CallStatus {
    const error = toRequestError(thrown);
    this.reportFault(error);
    return toCallStatus(error);
  }

  reportFault(error: RequestError): void {
    if (error.reason !== 'INTERNAL') return;
    this.#context.report({ kind: 'call-failed', call: this.record, cause: error.cause ?? error });
  }

  /** From now on `images` takes and answers the images of this stream. */
  attach(images: OpenStream): void {
    this.#images = images;
  }

  /** Streams: the error that answers this message; null: the message is whole. */
  rejectionOf(message: object): Rejection | null {
    return this.#messages?.rejectionOf(message) ?? null;
  }

  /** One image of a stream was answered. */
  reportImage(image: ImageRecord, code: string, reason: Reason | null): void {
    this.#context.report({ kind: 'stream-image-ended', call: this.record, image, code, reason });
  }

  /** Ends the call with this error: a stream after its pending answers, any other call at once. */
  reject(error: RequestError): void {
    const status = toCallStatus(error);
    if (this.#images === null) this.#inner.sendStatus(status);
    else this.#images.endInOrder(status);
  }

  /** Ends the call now, answered or not. */
  abort(error: RequestError): void {
    const status = toCallStatus(error);
    this.#abort.abort(error);
    if (this.#images === null) this.#inner.sendStatus(status);
    else this.#images.end(status);
  }

  /** Whether the caller has sent everything. Before that, a call of kind `other` does no work. */
  get hasBody(): boolean {
    return this.#hasBody;
  }

  /** Throws RequestError. */
  #accept(metadata: Metadata): void {
    const { engine, report, warmUpToken, authenticate } = this.#context;
    const { admission } = engine;
    this.record.header = (key) => textOf(metadata, key);
    checkSize(metadata);
    checkTimeout(this.#inner);
    if (this.#isExpired) throw this.#cancellation();
    const token = metadata.get(WARM_UP_KEY)[0];
    const isWarmUp = admission.gate === 'STARTING' && token === warmUpToken;
    if (!isWarmUp) {
      if (!this.#path.startsWith(HEALTH_PATH)) authenticate(metadata);
      this.record.isAuthenticated = true;
      report({ kind: 'call-authenticated', call: this.record });
      if (this.kind !== 'other') admission.checkGate();
      if (this.kind === 'image') engine.checkDeadline(this.expiresAt);
    }
    this.#begin();
    this.#state = 'uploading';
  }

  /** Takes what the call holds while it uploads. Throws RequestError OVERLOADED. */
  #begin(): void {
    const { engine, clock, uploadTimeoutMs, open } = this.#context;
    switch (this.kind) {
      case 'image':
        this.#upload = engine.admission.beginUpload((error) => this.reject(error));
        return;
      case 'stream':
        if (open.streams >= MOST_STREAMS) throw full('streams');
        open.streams++;
        watchBody(this.#inner, () => this.#onPiece());
        return;
      case 'other':
        if (open.others >= MOST_OTHERS) throw full('other calls');
        open.others++;
        limitMessages(this.#inner, OTHER_MESSAGE_BYTES);
        this.#cancelTimer = clock.after(uploadTimeoutMs, () => {
          const text = `the request did not arrive within ${uploadTimeoutMs} ms`;
          this.reject(new RequestError('UPLOAD_TIMEOUT', text));
        });
    }
  }

  #cutMessages(): StreamMessages | null {
    const { maxImageBytes } = this.#context;
    return cutMessages(this.#inner, (options) => new StreamMessages({ ...options, maxImageBytes }));
  }

  /** Streams: at its first byte a message takes an upload allowance, or waits for one. */
  #onPiece(): void {
    if (this.#upload !== null || this.#state === 'ended') return;
    const upload = this.#context.engine.admission.beginStreamUpload(
      () => this.#releaseBody(),
      (error) => this.reject(error),
    );
    this.#upload = upload;
    if (upload.waits) this.#releaseBody = holdBody(this.#inner);
  }

  #endUpload(): void {
    this.#upload?.end();
    this.#upload = null;
    // A small message can be complete before its turn.
    this.#releaseBody();
  }

  /**
   * Rejects the call now, or holds the rejection back where the throttle says so. `early`: none of
   * the body has been read, so the held call costs nothing.
   */
  #rejectThrottled(thrown: unknown, early: boolean): void {
    const { throttle } = this.#context;
    const error = toRequestError(thrown);
    if (this.kind === 'other' || !THROTTLED.includes(error.reason)) {
      this.reject(error);
      return;
    }
    const { reason, message, cause } = error;
    const leftMs = this.expiresAt - this.#context.clock.now();
    const verdict = throttle.judge(this.#connection, error.retryAfterMs ?? 0, leftMs);
    const holdMs = early ? verdict.holdMs : 0;
    const retryAfterMs = verdict.retryAfterMs + verdict.holdMs - holdMs;
    const throttled = new RequestError(reason, message, { cause, retryAfterMs });
    this.#cancelTimer = throttle.hold(this.#connection, holdMs, () => this.reject(throttled));
  }

  /** The handler or grpc-js is about to send a status. Returns what to send; null: nothing. */
  #onStatus(status: CallEnding): CallEnding | null {
    const sent = withReason(status, this.kind === 'other' ? null : this.#context.maxImageBytes);
    if (isOfTransport(status) && this.#images?.endInOrder(sent) === true) return null;
    this.#end(sent.code ?? grpcStatus.UNKNOWN, reasonOf(sent.metadata) ?? null);
    if (!this.#hasBody) resetStream(this.#inner);
    return sent.code === grpcStatus.OK ? sent : withRequestId(sent, this.record.requestId);
  }

  /** The call has its status or is cancelled. */
  #end(code: grpcStatus, reason: Reason | null): void {
    if (this.#state === 'ended') return;
    const { open, report } = this.#context;
    const wasAccepted = this.#state !== 'headers';
    this.#state = 'ended';
    this.#cancelTimer();
    this.#closeConnectionCall();
    this.#messages?.destroy();
    open.delete(this);
    if (wasAccepted && this.kind === 'stream') open.streams--;
    if (wasAccepted && this.kind === 'other') open.others--;
    if (this.#isWorking || this.#images !== null) this.#abort.abort(this.#cancellation(reason));
    this.#giveBack();
    report({ kind: 'call-ended', call: this.record, code: grpcStatus[code] ?? 'UNKNOWN', reason });
  }

  /**
   * An image that a process works on keeps its permit until the work settles, even after the call
   * has ended: processes may write into its slot. An answered call gives its permit back before it
   * replies, so that a caller that does not read holds none.
   */
  #giveBack(): void {
    this.#endUpload();
    if (this.#isWorking) return;
    this.#permit?.release();
    this.#permit = null;
  }

  get #isExpired(): boolean {
    return this.expiresAt <= this.#context.clock.now();
  }

  /** Why the call ends without an answer. */
  #cancellation(reason: Reason | null = null): RequestError {
    return reason === 'DEADLINE_EXCEEDED' || this.#isExpired
      ? new RequestError('DEADLINE_EXCEEDED', 'the deadline passed')
      : new RequestError('CANCELLED', 'the call was cancelled');
  }
}

/** Throws RequestError REQUEST_MALFORMED. Node accepts several hundred KiB of headers. */
function checkSize(metadata: Metadata): void {
  let bytes = 0;
  for (const [key, values] of Object.entries(metadata.toJSON())) {
    for (const value of values) bytes += key.length + value.length;
  }
  if (bytes <= MOST_METADATA_BYTES) return;
  const text = `the metadata has ${bytes} bytes; the limit is ${MOST_METADATA_BYTES}: send less`;
  throw new RequestError('REQUEST_MALFORMED', text);
}

function textOf(metadata: Metadata, key: string): string | undefined {
  const [value] = metadata.get(key);
  return typeof value === 'string' ? value : undefined;
}

function full(of: string): RequestError {
  const text = `overloaded: too many ${of} are open: retry later or on another instance`;
  return new RequestError('OVERLOADED', text, { retryAfterMs: FULL_RETRY_MS });
}
