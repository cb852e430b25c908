/**
 * Admission at the door: the interceptor that sees a call's metadata before its body.
 *
 * Who may not come in is refused here, before anything of the body is read, and a large upload is
 * reset, not read to its end: callers without a valid token, calls that come too early or too late,
 * and those that `door.ts` has no room for. Callers that call again at once are told later
 * (`rejection-throttle.ts`). Of a stream the next message is read only when the one before it has
 * its permit.
 *
 * It also is where every call is counted, since only here every way of ending shows: answers,
 * errors, the deadline that grpc-js answers by itself, callers that leave. What the handler needs
 * of this is found by the call's Metadata object, which grpc-js hands on as it is.
 */
import {
  status as grpcStatus,
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { type Reason, RequestError, toRequestError } from '../../errors.js';
import type { Permit } from '../admission/permits.js';
import type { RejectionThrottle } from '../admission/rejection-throttle.js';
import type { CallObserver, OngoingCall } from '../telemetry/calls.js';
import type { Refusal } from '../transport/stream-messages.js';
import {
  type CallEnding,
  connectionOf,
  interceptStatus,
  meaningOf,
  resetStream,
} from '../workarounds/base-call.js';
import { cutMessages } from '../workarounds/body.js';
import { checkTimeout } from '../workarounds/timeouts.js';
import { type CallKind, Door, type DoorOptions, kindOf as kindOfPath, type Stay } from './door.js';
import { reasonOf, toCallStatus } from './status.js';

/** What the interceptor knows of a call, for its handler. */
export interface CallContext {
  /** Monotonic milliseconds. */
  readonly arrivedAt: number;
  /** To be told what becomes of it. */
  readonly observed: OngoingCall;
  /** Unary: the permit for the call's image. The handler takes it over. */
  permit: Permit | null;
  /** Streams: lets the next message be read. */
  readNext(): void;
  /** Streams: why a message has to be answered with an error; null: it is whole. */
  refusalOf(message: object): Refusal | null;
  /**
   * Streams: set by the handler, which ends the call so when it has answered what it has taken.
   * Returns false where it is ending already. For what ends a call from outside, except that its
   * time is over.
   */
  endInOrder: ((ending: CallEnding) => boolean) | null;
}

/** Metadata key with which the server's own first calls come in while it is starting. */
export const WARM_UP_KEY = 'vitserve-warm-up';

/** Metadata key with which a call that failed can be found in the log. */
const REQUEST_ID_KEY = 'x-request-id';

const HEALTH_PATH = '/grpc.health.v1.Health/';

/** Of all keys and values of a call; the limit that other gRPC servers have. */
const MOST_METADATA_BYTES = 16 * 1024;

/** How long after the end of a broken-off body the cancellation may follow. */
const LEAVING_MS = 20;

/**
 * What callers are told who should come back later, here. Whom a server that stops turns away
 * should go elsewhere, at once.
 */
const THROTTLED: readonly Reason[] = ['OVERLOADED', 'DEADLINE_UNREACHABLE', 'STARTING'];

const contexts = new WeakMap<Metadata, CallContext>();

export function contextOf(metadata: Metadata): CallContext {
  const context = contexts.get(metadata);
  if (context === undefined)
    throw new Error('the call did not come through the admission interceptor');
  return context;
}

/** Takes the permit out of the context, so that it has one owner. */
export function takePermit(context: CallContext): Permit {
  const { permit } = context;
  if (permit === null) throw new Error('the call has no permit');
  context.permit = null;
  return permit;
}

/** A call whose messages are read one by one, each when its turn is given. */
class PacedCall extends ServerInterceptingCall {
  #mayRead = true;
  #wantsToRead = false;

  override startRead(): void {
    if (this.#mayRead) {
      this.#mayRead = false;
      super.startRead();
    } else this.#wantsToRead = true;
  }

  readNext(): void {
    if (this.#wantsToRead) {
      this.#wantsToRead = false;
      super.startRead();
    } else this.#mayRead = true;
  }
}

export interface AdmissionInterceptorOptions extends DoorOptions {
  readonly observer: CallObserver;
  readonly warmUpToken: string;
  readonly throttle: RejectionThrottle;
  /** Throws RequestError for a caller who may not come in. Health is open to everybody. */
  readonly authenticate: (metadata: Metadata) => void;
  /**
   * Throws RequestError where an image that is still to come can't be answered by then (monotonic
   * milliseconds).
   */
  readonly checkDeadline?: (expiresAt: number) => void;
  /** What a call of a path takes at the door; that of the ClassificationService where not given. */
  readonly kindOf?: (path: string) => CallKind;
}

export function createAdmissionInterceptor(
  options: AdmissionInterceptorOptions,
): ServerInterceptor {
  const {
    admission,
    clock,
    observer,
    warmUpToken,
    throttle,
    authenticate,
    kindOf = kindOfPath,
  } = options;
  const door = new Door(options);

  return ({ path, requestStream }, call) => {
    const kind = kindOf(path);
    const messages = kind === 'stream' ? cutMessages(call, options.maxImageBytes) : null;
    const arrivedAt = clock.now();
    const observed = observer.callBegan(path, arrivedAt);
    let stay: Stay | null = null;
    let hasMessage = false;
    let isComplete = false;
    let ended = false;
    let stopHolding = () => {};
    const connection = connectionOf(call);
    const leave = throttle.callBegan(connection);
    const end = (code: grpcStatus, reason: Reason | null) => {
      if (ended) return;
      ended = true;
      stopHolding();
      leave();
      stay?.end();
      messages?.destroy();
      observed.ended(grpcStatus[code] ?? 'UNKNOWN', reason);
    };
    const refuse = (thrown: unknown) => {
      const status = toCallStatus(toRequestError(thrown));
      if (context.endInOrder === null) paced.sendStatus(status);
      else context.endInOrder(status);
    };
    /** `early`: nothing of the body has been read, so the call costs nothing while it is held. */
    const reject = (thrown: unknown, early: boolean) => {
      const error = toRequestError(thrown);
      if (kind === 'other' || !THROTTLED.includes(error.reason)) {
        refuse(error);
        return;
      }
      const { reason, message, cause } = error;
      const leftMs = Number(call.getDeadline()) - Date.now();
      const verdict = throttle.judge(connection, error.retryAfterMs ?? 0, leftMs);
      const holdMs = early ? verdict.holdMs : 0;
      const retryAfterMs = verdict.retryAfterMs + verdict.holdMs - holdMs;
      const throttled = new RequestError(reason, message, { cause, retryAfterMs });
      stopHolding = throttle.hold(connection, holdMs, () => refuse(throttled));
    };
    const admitMetadata = (metadata: Metadata) => {
      observed.headersReceived((key) => textOf(metadata, key));
      checkSize(metadata);
      checkTimeout(call);
      if (expired(call)) throw leavingError(call);
      const isWarmUp =
        admission.gate === 'STARTING' && metadata.get(WARM_UP_KEY)[0] === warmUpToken;
      if (!isWarmUp && !path.startsWith(HEALTH_PATH)) authenticate(metadata);
      if (!isWarmUp) observed.authenticated();
      if (!isWarmUp && kind !== 'other') admission.checkGate();
      if (!isWarmUp && kind === 'image')
        options.checkDeadline?.(clock.now() + Number(call.getDeadline()) - Date.now());
      stay = door.enter(kind, call, refuse, { hasManyMessages: requestStream });
    };
    // Statuses of grpc-js's own come by here too, and get the reason that they lack.
    interceptStatus(call, (status) => {
      const error =
        reasonOf(status.metadata) === undefined
          ? errorBehind(status, kind, options.maxImageBytes)
          : null;
      const sent = error === null ? status : toCallStatus(error);
      if (isOfTransport(status) && context.endInOrder?.(sent) === true) return null;
      end(sent.code ?? grpcStatus.UNKNOWN, reasonOf(sent.metadata) ?? null);
      if (!isComplete) resetStream(call);
      return sent.code === grpcStatus.OK ? sent : named(sent, observed.requestId);
    });

    const context: CallContext = {
      arrivedAt,
      observed,
      permit: null,
      readNext: () => paced.readNext(),
      refusalOf: (message) => messages?.refusalOf(message) ?? null,
      endInOrder: null,
    };
    const paced = new (kind === 'stream' ? PacedCall : UnpacedCall)(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            try {
              admitMetadata(metadata);
            } catch (error) {
              reject(error, true);
              return;
            }
            contexts.set(metadata, context);
            pass(metadata);
          },
          onReceiveMessage(message, pass) {
            hasMessage = true;
            stay?.onMessage();
            messages?.onMessage(message);
            pass(message);
          },
          onReceiveHalfClose(pass) {
            if (kind === 'image' && !hasMessage) {
              // A caller who left amid the message looks like one who sent none, until `onCancel`
              // comes a moment later.
              clock.after(LEAVING_MS, () => !ended && pass());
              return;
            }
            isComplete = true;
            try {
              context.permit = stay?.onComplete() ?? null;
            } catch (error) {
              reject(error, false);
              return;
            }
            pass();
            // The handler has taken the permit by now; where grpc-js found no message to call it
            // with, nobody has.
            context.permit?.release();
          },
          onCancel: () => end(...endingOf(call)),
        }),
    });
    return paced;
  };
}

/** Whether grpc-js ends the call by itself, for what it was sent. */
function isOfTransport({ code, metadata }: CallEnding): boolean {
  return (
    code !== grpcStatus.OK &&
    code !== grpcStatus.DEADLINE_EXCEEDED &&
    reasonOf(metadata) === undefined
  );
}

/** Throws RequestError. Node takes several hundred KiB of headers. */
function checkSize(metadata: Metadata): void {
  let bytes = 0;
  for (const [key, values] of Object.entries(metadata.toJSON())) {
    for (const value of values) bytes += key.length + value.length;
  }
  if (bytes <= MOST_METADATA_BYTES) return;
  throw new RequestError(
    'REQUEST_MALFORMED',
    `the metadata has ${bytes} bytes; the limit is ${MOST_METADATA_BYTES}: send less`,
  );
}

function textOf(metadata: Metadata, key: string): string | undefined {
  const [value] = metadata.get(key);
  return typeof value === 'string' ? value : undefined;
}

/** The same with the name of the call, so that its caller can ask for it. */
function named(status: CallEnding, requestId: string): CallEnding {
  const metadata = status.metadata ?? new Metadata();
  metadata.set(REQUEST_ID_KEY, requestId);
  return { ...status, metadata };
}

/**
 * What a status that grpc-js found by itself means in our own table, or null: it has no word for
 * it.
 */
function errorBehind(
  { code, details }: CallEnding,
  kind: CallKind,
  maxImageBytes: number,
): RequestError | null {
  if (code === grpcStatus.OK) return null;
  if (code === grpcStatus.DEADLINE_EXCEEDED)
    return new RequestError('DEADLINE_EXCEEDED', 'the deadline passed');
  const meaning = meaningOf(details);
  if (meaning === 'too-large' && kind !== 'other') {
    return new RequestError(
      'IMAGE_TOO_LARGE',
      `the image has more bytes than the limit of ${maxImageBytes}: send a smaller file`,
    );
  }
  return meaning === null
    ? null
    : new RequestError('REQUEST_MALFORMED', `the request can't be read: ${details}`);
}

/** The same shape without pacing: a unary call reads its one message and the end of it. */
class UnpacedCall extends ServerInterceptingCall {
  readNext(): void {}
}

/**
 * Why a call ended without a status of ours: grpc-js answered the deadline by itself, or the caller
 * left.
 */
function endingOf(
  call: Pick<ServerInterceptingCallInterface, 'getDeadline'>,
): [grpcStatus, Reason] {
  return expired(call)
    ? [grpcStatus.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED']
    : [grpcStatus.CANCELLED, 'CANCELLED'];
}

/** The reason to abort work with, when a call has been cancelled. */
export function leavingError(
  call: Pick<ServerInterceptingCallInterface, 'getDeadline'>,
): RequestError {
  return expired(call)
    ? new RequestError('DEADLINE_EXCEEDED', 'the deadline passed')
    : new RequestError('CANCELLED', 'the caller has left');
}

function expired(call: Pick<ServerInterceptingCallInterface, 'getDeadline'>): boolean {
  return Number(call.getDeadline()) <= Date.now();
}
