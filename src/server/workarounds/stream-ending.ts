/**
 * The end of a call on its HTTP/2 stream: one status, nothing after it, and a reset that does not
 * overtake it.
 *
 * grpc-js lets a message be written between a status and its way to the caller: the write destroys
 * the stream, and the status is never sent. It sends its own statuses (a deadline, bytes that are
 * no message) without the handler's knowledge, so only the innermost call can prevent that.
 *
 * What it costs: two closures a call.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';

/** How soon a stream is looked at again, and how seldom at last, where its caller does not read. */
const SOON_MS = 2;
const SELDOM_MS = 100;

/**
 * Only the first status of the call is sent, and no message after it. `call` is the innermost one,
 * which grpc-js uses itself.
 */
export function sealAfterStatus(call: ServerInterceptingCallInterface): void {
  const sendMessage = call.sendMessage.bind(call);
  const sendStatus = call.sendStatus.bind(call);
  let sealed = false;
  call.sendMessage = (message, callback) => {
    if (!sealed) sendMessage(message, callback);
  };
  call.sendStatus = (status) => {
    if (sealed) return;
    sealed = true;
    sendStatus(status);
  };
}

/**
 * Resets the stream with NO_ERROR once the status has been written (RFC 9113 §8.1), so that it
 * closes although the caller goes on sending, or never ends its side. A reset before that would
 * replace the status; HTTP/2 knows when the last frame was written, but tells only who asks.
 */
export function resetOnceEnded(stream: Partial<ServerHttp2Stream>, lookAgainMs = SOON_MS): void {
  if (stream.destroyed === true) return;
  if (stream.closed !== true && stream.state?.localClose !== 1) {
    const next = Math.min(2 * lookAgainMs, SELDOM_MS);
    setTimeout(() => resetOnceEnded(stream, next), lookAgainMs).unref();
    return;
  }
  stream.close?.(constants.NGHTTP2_NO_ERROR);
  // Node keeps a stream, and its connection, until what has come is read; it is thrown away.
  stream.resume?.();
}
