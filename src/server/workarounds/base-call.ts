/**
 * Access to the inside of a grpc-js call: end an upload early, limit messages by method, see every
 * status before it is sent.
 *
 * - Fact: grpc-js has no public way to any of these. The innermost intercepting call
 *   (`BaseServerInterceptingCall` in its `server-interceptors.ts`) has `stream`, `decoder` and
 *   `maxReceiveMessageSize`, and sends its own statuses through its own `sendStatus`.
 * - Seen with: @grpc/grpc-js 1.14.7.
 * - Fails when it breaks: `test/faults/hostile-connections.test.ts`,
 *   `test/integration/refusal.test.ts`. The server goes on, without this protection.
 * - Delete when: grpc-js resets answered uploads, and has limits by method and a hook for statuses.
 */
import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { resetOnceEnded, sealAfterStatus } from './stream-ending.js';

export type CallEnding = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

/** Larger than most photos. */
const SMALL_UPLOAD_BYTES = 512 * 1024;
/** The flag and the length before the bytes of a message. */
const PREFIX_BYTES = 5;
/** How long an upload may take to end by itself. */
const GRACE_MS = 100;
/** This many uploads at a time get GRACE_MS; further ones are reset at once. */
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
 * After `sendStatus` grpc-js reads and discards the rest of the body: 16.8 MB on the wire for a 16
 * MB image. RFC 9113 §8.1 lets a server that answered early reset the HTTP/2 stream with NO_ERROR,
 * and client libraries still see the status. But a proxy that is still sending may pass on the
 * reset in place of the status (HAProxy: grpcio gets CANCELLED, which it does not retry). So the
 * server reads and discards a message of up to SMALL_UPLOAD_BYTES, which is usually on the wire
 * already, and resets nothing. It reads nothing of a larger one, and resets the stream where the
 * caller has not stopped within GRACE_MS. Until then the caller can send one stream window.
 *
 * Call it before the status is sent: after earlier answers, the status goes out only once the
 * caller has read them.
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
    // grpc-js now resumes the stream, to discard the rest.
    process.nextTick(pause);
    setImmediate(() => resetOnceEnded(stream));
  });
}

function endUpload(stream: Partial<ServerHttp2Stream>): void {
  // A message that was read in part has lost its beginning, and with it its length.
  let toCome = stream.readableDidRead === false ? Number.NaN : 0;
  stream.on?.('data', (bytes: Buffer) => {
    if (Number.isNaN(toCome)) toCome = uploadBytes(bytes);
    toCome -= bytes.length;
    // After the reset the rest is read and discarded.
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
 * The size of the message that begins with these bytes, including its prefix (gRPC over HTTP/2,
 * Length-Prefixed-Message); 0: too large to read.
 */
function uploadBytes(beginning: Buffer): number {
  if (beginning.length < PREFIX_BYTES) return 0;
  const bytes = PREFIX_BYTES + beginning.readUInt32BE(1);
  return bytes <= SMALL_UPLOAD_BYTES ? bytes : 0;
}

/** The HTTP/2 session of the call; the call itself where the session is gone. */
export function connectionOf(call: ServerInterceptingCallInterface): object {
  return (call as BaseCall).stream?.session ?? call;
}

/** Limits the messages of this call; grpc-js has one limit for all methods of a server. */
export function limitMessages(call: ServerInterceptingCallInterface, bytes: number): void {
  const base = call as BaseCall;
  if (base.maxReceiveMessageSize !== undefined) base.maxReceiveMessageSize = bytes;
  if (base.decoder?.maxReadMessageLength !== undefined) base.decoder.maxReadMessageLength = bytes;
}

/**
 * Passes every status to `onStatus` before it is sent, those of grpc-js included, and sends what
 * that returns; null: nothing yet. A call sends one status, and no message after it.
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

/** Texts of grpc-js for a message above the limit, compressed or decompressed. */
const TOO_LARGE = /^Received message (larger than max|that decompresses to a size larger)/;
/** Texts of grpc-js for an unreadable message or deadline. */
const MALFORMED =
  /^(Failed to decompress message|Error deserializing request|Invalid grpc-timeout value)/;

/** What a status of grpc-js means, by its text; null: the error table has no entry for it. */
export function meaningOf(details: string): 'too-large' | 'malformed' | null {
  if (TOO_LARGE.test(details)) return 'too-large';
  return MALFORMED.test(details) ? 'malformed' : null;
}
