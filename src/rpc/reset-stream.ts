/**
 * Ends the upload of a refused call.
 *
 * After `sendStatus` grpc-js reads the rest of the body and throws it away: of a 16 MB image it takes 16.8 MB off the wire.
 * Resetting the HTTP/2 stream with NO_ERROR on the next turn, as RFC 9113 §8.1 allows a server that has answered early,
 * takes 0.13 MB, and callers still see the status. grpc-js has no public way to it: `stream` is a private field of its base
 * call, read here and nowhere else; `test/integration/refusal.test.ts` fails when an update moves it.
 */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';

export function resetStream(call: ServerInterceptingCallInterface): void {
  const { stream } = call as { stream?: Partial<ServerHttp2Stream> };
  setImmediate(() => stream?.close?.(constants.NGHTTP2_NO_ERROR));
}
