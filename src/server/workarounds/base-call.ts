/**
 * What the server needs of a call and grpc-js has no public way to; `body.ts` has the same for what
 * is read, `timeouts.ts` for deadlines. All that is known here of its inside: the innermost
 * intercepting call has `stream`, `decoder` and `maxReceiveMessageSize`, and sends its own statuses
 * through its own `sendStatus`. Where an update moves one of them nothing breaks, but protection is
 * lost: `test/faults/hostile-connections.test.ts` and `test/integration/refusal.test.ts` fail then.
 */
import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { resetOnceEnded, sealAfterStatus } from './stream-ending.js';

export type CallEnding = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

/** Photos. */
const SMALL_UPLOAD_BYTES = 512 * 1024;
/** Of a message, before its bytes. */
const PREFIX_BYTES = 5;
/** How long an upload has to end by itself. */
const GRACE_MS = 100;
/** Uploads at a time that may; more are reset at once. */
const MOST_ENDING = 256;
let ending = 0;

interface BaseCall {
  stream?: Partial<ServerHttp2Stream>;
  decoder?: { maxReadMessageLength?: number };
  maxReceiveMessageSize?: number;
}

/**
 * Ends the upload of a call that is answered before its image has been read.
 *
 * After `sendStatus` grpc-js reads the rest of the body and throws it away: of a 16 MB image it
 * takes 16.8 MB off the wire. RFC 9113 §8.1 allows a server that has answered early to reset the
 * HTTP/2 stream with NO_ERROR, and client libraries still see the status. But a proxy that is still
 * sending may take the reset for the answer (HAProxy: grpcio gets CANCELLED, which it does not
 * retry). So a message of up to SMALL_UPLOAD_BYTES, which is on the wire already as a rule, is read
 * to its end and dropped, and nothing is reset; of a larger one nothing is read, and it is reset
 * where the caller has not stopped sending by itself in GRACE_MS. A window of the stream is all
 * that it can send until then.
 *
 * To be called before the status is sent: where something has been answered already, the status
 * goes out only when that has been taken.
 */
export function resetStream(call: ServerInterceptingCallInterface): void {
  const { stream } = call as BaseCall;
  if (stream === undefined) return;
  if (stream.headersSent !== true) {
    if (ending >= MOST_ENDING) setImmediate(() => resetOnceEnded(stream));
    else endUpload(stream);
    return;
  }
  const pause = () => void stream.pause?.();
  pause();
  stream.once?.('wantTrailers', () => {
    // grpc-js now reads on, to throw the rest away.
    process.nextTick(pause);
    setImmediate(() => resetOnceEnded(stream));
  });
}

function endUpload(stream: Partial<ServerHttp2Stream>): void {
  // The beginning of a message that has been read in part is gone, and its length with it.
  let toCome = stream.readableDidRead === false ? Number.NaN : 0;
  stream.on?.('data', (bytes: Buffer) => {
    if (Number.isNaN(toCome)) toCome = uploadBytes(bytes);
    toCome -= bytes.length;
    // After the reset it is read on, to be thrown away.
    if (toCome < 0 && stream.closed !== true) stream.pause?.();
  });
  const timer = setTimeout(() => resetOnceEnded(stream), GRACE_MS).unref();
  ending++;
  stream.once?.('close', () => {
    ending--;
    clearTimeout(timer);
  });
}

/**
 * Bytes of a body that begins so, with its prefix of five bytes (gRPC over HTTP/2,
 * Length-Prefixed-Message), or 0: too many to read.
 */
function uploadBytes(beginning: Buffer): number {
  if (beginning.length < PREFIX_BYTES) return 0;
  const bytes = PREFIX_BYTES + beginning.readUInt32BE(1);
  return bytes <= SMALL_UPLOAD_BYTES ? bytes : 0;
}

/** The HTTP/2 session that the call came over; an object without a session where that has gone. */
export function connectionOf(call: ServerInterceptingCallInterface): object {
  return (call as BaseCall).stream?.session ?? call;
}

/**
 * Messages of this call may have so many bytes and no more; grpc-js has one limit for all methods
 * of a server.
 */
export function limitMessages(call: ServerInterceptingCallInterface, bytes: number): void {
  const base = call as BaseCall;
  if (base.maxReceiveMessageSize !== undefined) base.maxReceiveMessageSize = bytes;
  if (base.decoder?.maxReadMessageLength !== undefined) base.decoder.maxReadMessageLength = bytes;
}

/**
 * Shows every status before it is sent, also those that grpc-js finds by itself, and sends what
 * `onStatus` makes of it; null: nothing yet. Of a call one status is sent, and no message after it.
 */
export function interceptStatus(
  call: ServerInterceptingCallInterface,
  onStatus: (status: CallEnding) => CallEnding | null,
): void {
  sealAfterStatus(call);
  const send = call.sendStatus.bind(call);
  call.sendStatus = (status) => {
    const sent = onStatus(status);
    if (sent !== null) send(sent);
  };
}

/** Texts of grpc-js for a message above the limit, as it was sent and as it unfolds. */
const TOO_LARGE = /^Received message (larger than max|that decompresses to a size larger)/;
/** Texts of grpc-js for bytes that are no message, and a deadline that is none. */
const MALFORMED =
  /^(Failed to decompress message|Error deserializing request|Invalid grpc-timeout value)/;

/**
 * What a status that grpc-js sends by itself means, by its text; null: nothing that this server has
 * a word for.
 */
export function meaningOf(details: string): 'too-large' | 'malformed' | null {
  if (TOO_LARGE.test(details)) return 'too-large';
  return MALFORMED.test(details) ? 'malformed' : null;
}
