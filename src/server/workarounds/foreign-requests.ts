/**
 * Answers HTTP/2 requests that are not gRPC (gRPC-Web, Connect, JSON, `curl`) in their own protocol
 * with what this port speaks.
 *
 * - Fact: grpc-js answers gRPC-Web as gRPC, which its callers cannot read, and rejects the others
 *   with an empty 415. Only its HTTP/2 servers, the private field `http2Servers` (`server.ts`), see
 *   such a request first.
 * - Seen with: @grpc/grpc-js 1.14.7.
 * - Fails when it breaks: `test/integration/foreign-callers.test.ts`. Such callers get the answers
 *   of grpc-js then.
 * - Delete when: grpc-js lets a server answer requests of another content type.
 */
import {
  constants,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { status as grpcStatus, type Server } from '@grpc/grpc-js';

interface Inside {
  readonly http2Servers?: Map<Http2Server, unknown>;
}

type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  ...rest: unknown[]
) => void;

const WEB_TEXT =
  'this port speaks gRPC and not gRPC-Web: ' +
  'put a proxy that translates in front of it, such as Envoy with its grpc_web filter';
const OTHER_TEXT =
  'this port speaks gRPC, content-type application/grpc: ' +
  'call it with a gRPC client, or through a proxy that translates';

/** Call it after `createConnectionInjector`. */
export function answerForeignRequests(server: Server): void {
  const { http2Servers } = server as unknown as Inside;
  for (const http2Server of http2Servers?.keys() ?? []) {
    const listeners = http2Server.listeners('stream') as StreamListener[];
    http2Server.removeAllListeners('stream');
    http2Server.on(
      'stream',
      (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: unknown[]) => {
        const contentType = headers['content-type'] ?? '';
        if (/^application\/grpc([+;]|$)/.test(contentType)) {
          for (const listener of listeners) listener.call(http2Server, stream, headers, ...rest);
        } else answer(stream, contentType);
      },
    );
  }
}

function answer(stream: ServerHttp2Stream, contentType: string): void {
  stream.on('error', () => {});
  if (contentType.startsWith('application/grpc-web')) {
    const head = { 'grpc-status': grpcStatus.UNIMPLEMENTED, 'grpc-message': WEB_TEXT };
    stream.respond({ ':status': 200, 'content-type': contentType, ...head }, { endStream: true });
  } else {
    stream.respond({
      ':status': 415,
      'content-type': 'application/json',
      'accept-post': 'application/grpc',
    });
    // The form in which Connect clients read errors; it reads well in a terminal, too.
    stream.end(`${JSON.stringify({ code: 'unimplemented', message: OTHER_TEXT })}\n`);
  }
  // Nothing more of the request is wanted. The reset waits until the answer is written.
  stream.resume();
  setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
}
