/**
 * The end of a call on its HTTP/2 stream: one status, nothing after it, and no reset before it is
 * written. What it costs: two closures a call.
 *
 * - Fact: grpc-js writes a message even after a status that is not on the wire yet; the write
 *   destroys the stream, and the status is lost. It also sends statuses of its own (deadline,
 *   unreadable message) that the handler does not know of, so only the innermost call
 *   (`server-interceptors.ts`) can prevent that.
 * - Seen with: @grpc/grpc-js 1.14.7.
 * - Fails when it breaks: `test/integration/stream-endings.test.ts`.
 * - Delete when: grpc-js drops messages after a status, and resets streams whose caller goes on.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';

/** The first and the longest interval of the checks, where the caller does not read. */
const SOON_MS = 2;
const SELDOM_MS = 100;

/**
 * Has only the first status of the call sent, and no message after it. `call` is the innermost one,
 * the one that grpc-js itself uses.
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
 * Resets the stream with NO_ERROR once the status is written (RFC 9113 §8.1), so that it closes
 * even if the caller goes on sending or never ends its side. An earlier reset would replace the
 * status. Node has no event for the last frame, so this function polls.
 */
export function resetOnceEnded(stream: Partial<ServerHttp2Stream>, lookAgainMs = SOON_MS): void {
  if (stream.destroyed === true) return;
  if (stream.closed !== true && stream.state?.localClose !== 1) {
    const next = Math.min(2 * lookAgainMs, SELDOM_MS);
    setTimeout(() => resetOnceEnded(stream, next), lookAgainMs).unref();
    return;
  }
  stream.close?.(constants.NGHTTP2_NO_ERROR);
  // Node keeps a stream, and its connection, until what has arrived is read.
  stream.resume?.();
}
