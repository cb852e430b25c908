/**
 * One call from its headers to its status: what it holds, and when it gives that back.
 *
 * Headers → upload → permit → work → status. A call that is not admitted is rejected at its
 * headers, before anything of its body is read, so a large upload is reset and not read to its end.
 * What a call holds follows from its kind and its state:
 *
 * - A unary image: an upload allowance, which becomes a permit when the body is complete.
 * - A stream of images: a place among the streams; each message an upload allowance from its first
 *   byte on, waited for. The images of a stream take their permits themselves
 *   (`classify-stream.ts`).
 * - Any other call (health, reflection, questions about models): a place among the others, a small
 *   message, and the same time to send it.
 *
 * So what callers can make the front hold is bounded: (3 × permits) × `max-image-bytes`, and for
 * streams that wait and other calls MOST_STREAMS × STREAM_WINDOW_BYTES + MOST_OTHERS ×
 * OTHER_MESSAGE_BYTES. `#giveBack` is the only place where any of it is given back.
 *
 * A call also is where its end is recorded, since only here every way of ending shows: answers,
 * errors, the deadline that grpc-js answers by itself, cancellation.
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
import type { Refusal, StreamMessages } from '../transport/stream-messages.js';
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

/** What an image that has its permit comes with, besides what its request says. */
export type AdmittedImage = Pick<ImageRequest, 'slot' | 'ofStream' | 'signal' | 'record'>;

/** The images of a stream, as its call sees them. */
export interface ImageStream {
  /** Ends the call so when what it has taken is answered. False: it is ending already. */
  endInOrder(ending: CallEnding): boolean;
  /** Ends the call so, now. */
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
  /** Calls that carry it are taken while the server is starting. */
  readonly warmUpToken: string;
  /** Throws RequestError for a caller without a valid token. Health is open to all. */
  readonly authenticate: (metadata: Metadata) => void;
  /** What a call of a path holds; that of the ClassificationService where not given. */
  readonly kindOf?: (path: string) => CallKind;
  /** Calls that have not ended. */
  readonly open: OpenCalls;
}

/** Metadata key with which the server's own first calls come in while it is starting. */
export const WARM_UP_KEY = 'vitserve-warm-up';
const HEALTH_PATH = '/grpc.health.v1.Health/';

/** Open at a time, over all connections. */
export const MOST_STREAMS = 256;
export const MOST_OTHERS = 4096;
/** A question about a model or a service has a name or two. */
export const OTHER_MESSAGE_BYTES = 16 * 1024;
/** Of all keys and values of a call; the limit that other gRPC servers have. */
const MOST_METADATA_BYTES = 16 * 1024;
const FULL_RETRY_MS = 1_000;
/** How long after the end of a body that was broken off the cancellation may follow. */
const CANCELLATION_MS = 20;

/**
 * Reasons whose callers should come back later, to this server. A server that stops sends its
 * callers elsewhere, at once.
 */
const THROTTLED: readonly Reason[] = ['OVERLOADED', 'DEADLINE_UNREACHABLE', 'STARTING'];

const UNARY_IMAGE_PATHS = new Set([`/${SERVICE_NAME}/Classify`, `/${SERVICE_NAME}/Embed`]);
const STREAM_PATH = `/${SERVICE_NAME}/ClassifyStream`;

export function kindOf(path: string): CallKind {
  if (path === STREAM_PATH) return 'stream';
  return UNARY_IMAGE_PATHS.has(path) ? 'image' : 'other';
}

/** The calls of a port that have not ended, and how many of them hold a place. */
export class OpenCalls extends Set<Call> {
  streams = 0;
  others = 0;
}

const calls = new WeakMap<Metadata, Call>();

export class Call {
  readonly kind: CallKind;
  readonly record: CallRecord;
  /** Streams: lets messages be read one by one; null: the call is none. */
  readonly pace: Pace | null;
  readonly #context: CallContext;
  readonly #path: string;
  /** The caller may send as many messages as it likes. */
  readonly #hasManyMessages: boolean;
  readonly #inner: ServerInterceptingCallInterface;
  readonly #connection: object;
  readonly #messages: StreamMessages | null;
  readonly #abort = new AbortController();
  #state: 'headers' | 'uploading' | 'admitted' | 'ended' = 'headers';
  #upload: Upload | StreamUpload | null = null;
  #permit: Permit | null = null;
  /** Processes may write into the permit's slot. */
  #isWorking = false;
  #hasMessage = false;
  #hasBody = false;
  #images: ImageStream | null = null;
  #closeConnectionCall: () => void;
  #cancelTimer = () => {};

  /** @param inner the innermost call, which grpc-js uses itself */
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
    this.record = new CallRecord(path, context.clock.now());
    this.pace = this.kind === 'stream' ? new Pace() : null;
    this.#messages = this.kind === 'stream' ? cutMessages(inner, context.maxImageBytes) : null;
    this.#connection = connectionOf(inner);
    this.#closeConnectionCall = context.throttle.callBegan(this.#connection);
    context.open.add(this);
    interceptStatus(inner, (status) => this.#onStatus(status));
  }

  /** The call of a handler, by its Metadata object, which grpc-js hands on as it is. */
  static of({ metadata }: { readonly metadata: Metadata }): Call {
    const call = calls.get(metadata);
    if (call === undefined) throw new Error('the call did not come through the interceptor');
    return call;
  }

  /** Aborted when the call ends before its work does; the reason is a RequestError. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Monotonic milliseconds; Infinity: no deadline. */
  get expiresAt(): number {
    return this.#context.clock.now() + Number(this.#inner.getDeadline()) - Date.now();
  }

  /** Returns whether the call goes on. */
  onHeaders(metadata: Metadata): boolean {
    try {
      this.#admit(metadata);
    } catch (error) {
      this.#reject(error, true);
      return false;
    }
    calls.set(metadata, this);
    return true;
  }

  onMessage(message: object): void {
    this.#hasMessage = true;
    this.#messages?.onMessage(message);
    // Where there is one message nothing is done before the caller has ended its side, too.
    if (this.kind === 'stream') this.#endUpload();
    else if (this.#hasManyMessages) this.#cancelTimer();
  }

  /** The caller has sent everything; `proceed` has the handler called. */
  onHalfClose(proceed: () => void): void {
    if (this.kind === 'image' && !this.#hasMessage) {
      // A call cancelled amid the message looks like one without a message, until `onCancel` comes
      // a moment later.
      this.#context.clock.after(CANCELLATION_MS, () => this.#state !== 'ended' && proceed());
      return;
    }
    this.#hasBody = true;
    try {
      if (this.kind === 'image') this.#permit = (this.#upload as Upload).admit();
    } catch (error) {
      this.#reject(error, false);
      return;
    }
    if (this.kind === 'other') this.#cancelTimer();
    if (this.#state === 'uploading') this.#state = 'admitted';
    proceed();
    // The handler works by now; where grpc-js found no message to call it with, it does not.
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
      (thrown: unknown) => settle(() => reply(this.failure(thrown))),
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

  /** The status for anything thrown; a fault of the server goes to the log with its cause. */
  failure(thrown: unknown): CallStatus {
    const error = toRequestError(thrown);
    this.reportFault(error);
    return toCallStatus(error);
  }

  reportFault(error: RequestError): void {
    if (error.reason !== 'INTERNAL') return;
    this.#context.report({ kind: 'call-failed', call: this.record, cause: error.cause ?? error });
  }

  /** For a stream, whose images are taken and answered by `images` from now on. */
  attach(images: ImageStream): void {
    this.#images = images;
  }

  /** Streams: why a message has to be answered with an error; null: it is whole. */
  refusalOf(message: object): Refusal | null {
    return this.#messages?.refusalOf(message) ?? null;
  }

  /** One image of a stream was answered. */
  reportImage(image: ImageRecord, code: string, reason: Reason | null): void {
    this.#context.report({ kind: 'stream-image-ended', call: this.record, image, code, reason });
  }

  /** Ends the call with this error: in order where it is a stream, and otherwise at once. */
  refuse(error: RequestError): void {
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

  /** Whether the caller has sent everything; until then no work is done for a question. */
  get hasBody(): boolean {
    return this.#hasBody;
  }

  /** Throws RequestError. */
  #admit(metadata: Metadata): void {
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

  /** Takes what the call holds from its headers on. Throws RequestError OVERLOADED. */
  #begin(): void {
    const { engine, clock, uploadTimeoutMs, open } = this.#context;
    switch (this.kind) {
      case 'image':
        this.#upload = engine.admission.beginUpload((error) => this.refuse(error));
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
          this.refuse(new RequestError('UPLOAD_TIMEOUT', text));
        });
    }
  }

  /** A stream: with its first byte a message takes an upload allowance, or waits for one. */
  #onPiece(): void {
    if (this.#upload !== null || this.#state === 'ended') return;
    let resume = () => {};
    const upload = this.#context.engine.admission.beginStreamUpload(
      () => resume(),
      (error) => this.refuse(error),
    );
    this.#upload = upload;
    if (upload.waits) resume = holdBody(this.#inner);
  }

  #endUpload(): void {
    this.#upload?.end();
    this.#upload = null;
  }

  /** `early`: nothing of the body has been read, so the call costs nothing while it is held. */
  #reject(thrown: unknown, early: boolean): void {
    const { throttle } = this.#context;
    const error = toRequestError(thrown);
    if (this.kind === 'other' || !THROTTLED.includes(error.reason)) {
      this.refuse(error);
      return;
    }
    const { reason, message, cause } = error;
    const leftMs = Number(this.#inner.getDeadline()) - Date.now();
    const verdict = throttle.judge(this.#connection, error.retryAfterMs ?? 0, leftMs);
    const holdMs = early ? verdict.holdMs : 0;
    const retryAfterMs = verdict.retryAfterMs + verdict.holdMs - holdMs;
    const throttled = new RequestError(reason, message, { cause, retryAfterMs });
    this.#cancelTimer = throttle.hold(this.#connection, holdMs, () => this.refuse(throttled));
  }

  /** A status is about to be sent, also by grpc-js itself. Returns what is sent; null: nothing. */
  #onStatus(status: CallEnding): CallEnding | null {
    const sent = withReason(status, this.kind === 'other' ? null : this.#context.maxImageBytes);
    if (isOfTransport(status) && this.#images?.endInOrder(sent) === true) return null;
    this.#end(sent.code ?? grpcStatus.UNKNOWN, reasonOf(sent.metadata) ?? null);
    if (!this.#hasBody) resetStream(this.#inner);
    return sent.code === grpcStatus.OK ? sent : withRequestId(sent, this.record.requestId);
  }

  /** The call has its status, or is cancelled. */
  #end(code: grpcStatus, reason: Reason | null): void {
    if (this.#state === 'ended') return;
    const { open, report } = this.#context;
    const wasAdmitted = this.#state !== 'headers';
    this.#state = 'ended';
    this.#cancelTimer();
    this.#closeConnectionCall();
    this.#messages?.destroy();
    open.delete(this);
    if (wasAdmitted && this.kind === 'stream') open.streams--;
    if (wasAdmitted && this.kind === 'other') open.others--;
    if (this.#isWorking || this.#images !== null) this.#abort.abort(this.#cancellation(reason));
    this.#giveBack();
    report({ kind: 'call-ended', call: this.record, code: grpcStatus[code] ?? 'UNKNOWN', reason });
  }

  /**
   * An image that is being worked on keeps its permit until that has settled, even though the call
   * has ended: processes may write into its slot. A call that is answered gives its permit back
   * before it replies, so that a caller who does not read holds none.
   */
  #giveBack(): void {
    this.#endUpload();
    if (this.#isWorking) return;
    this.#permit?.release();
    this.#permit = null;
  }

  get #isExpired(): boolean {
    return Number(this.#inner.getDeadline()) <= Date.now();
  }

  /** Why the call ends without an answer. */
  #cancellation(reason: Reason | null = null): RequestError {
    return reason === 'DEADLINE_EXCEEDED' || this.#isExpired
      ? new RequestError('DEADLINE_EXCEEDED', 'the deadline passed')
      : new RequestError('CANCELLED', 'the call was cancelled');
  }
}

/** Throws RequestError. Node takes several hundred KiB of headers. */
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
  const text = `overloaded: as many ${of} as allowed are open: retry later or elsewhere`;
  return new RequestError('OVERLOADED', text, { retryAfterMs: FULL_RETRY_MS });
}
