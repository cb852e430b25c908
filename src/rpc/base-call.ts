/**
 * What the server needs of a call and grpc-js has no public way to; `body.ts` has the same for what is read, `timeouts.ts` for
 * deadlines. All that is known here of its inside: the innermost intercepting call has `stream`, `decoder` and
 * `maxReceiveMessageSize`, and sends its own statuses through its own `sendStatus`. Where an update moves one of them nothing
 * breaks, but protection is lost: `test/faults/hostile-connections.test.ts` and `test/integration/refusal.test.ts` fail then.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { resetOnceEnded, sealAfterStatus } from './stream-ending.js';

export type CallEnding = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

interface BaseCall {
  stream?: Partial<ServerHttp2Stream>;
  decoder?: { maxReadMessageLength?: number };
  maxReceiveMessageSize?: number;
}

/**
 * Ends the upload of a refused call.
 *
 * After `sendStatus` grpc-js reads the rest of the body and throws it away: of a 16 MB image it takes 16.8 MB off the wire.
 * Resetting the HTTP/2 stream with NO_ERROR on the next turn, as RFC 9113 §8.1 allows a server that has answered early,
 * takes 0.13 MB, and callers still see the status. To be called before the status is sent: where something has been answered
 * already, the status goes out only when that has been taken.
 */
export function resetStream(call: ServerInterceptingCallInterface): void {
  const { stream } = call as BaseCall;
  const reset = () => stream?.close?.(constants.NGHTTP2_NO_ERROR);
  if (stream?.headersSent !== true) {
    setImmediate(reset);
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

/** Messages of this call may have so many bytes and no more; grpc-js has one limit for all methods of a server. */
export function limitMessages(call: ServerInterceptingCallInterface, bytes: number): void {
  const base = call as BaseCall;
  if (base.maxReceiveMessageSize !== undefined) base.maxReceiveMessageSize = bytes;
  if (base.decoder?.maxReadMessageLength !== undefined) base.decoder.maxReadMessageLength = bytes;
}

/**
 * Shows every status before it is sent, also those that grpc-js finds by itself, and sends what `onStatus` makes of it; null:
 * nothing yet. Of a call one status is sent, and no message after it.
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
const MALFORMED = /^(Failed to decompress message|Error deserializing request|Invalid grpc-timeout value)/;

/** What a status that grpc-js sends by itself means, by its text; null: nothing that this server has a word for. */
export function meaningOf(details: string): 'too-large' | 'malformed' | null {
  if (TOO_LARGE.test(details)) return 'too-large';
  return MALFORMED.test(details) ? 'malformed' : null;
}
