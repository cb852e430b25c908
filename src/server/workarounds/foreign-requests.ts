/**
 * Requests that came by HTTP/2 and are not gRPC: gRPC-Web, Connect, JSON, `curl`.
 *
 * grpc-js takes gRPC-Web for gRPC, whose answers its callers can't read, and refuses the others
 * with an empty 415. Here each is told in its own words what this port speaks. That goes before
 * grpc-js by its HTTP/2 server, a private field (`http2Servers`) that `upload-window.ts` uses too;
 * where an update moves it, such callers get the answers of grpc-js, and
 * `test/integration/foreign-callers.test.ts` fails.
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
  'this port speaks gRPC and not gRPC-Web: put a proxy that translates in front of it, such as Envoy with its grpc_web filter';
const OTHER_TEXT =
  'this port speaks gRPC, content-type application/grpc: call it with a gRPC client, or through a proxy that translates';

/** After `createConnectionInjector`. */
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
    // As callers of Connect read errors; it reads well in a terminal, too.
    stream.end(`${JSON.stringify({ code: 'unimplemented', message: OTHER_TEXT })}\n`);
  }
  // Of the request nothing more is wanted. The reset waits until the answer is written.
  stream.resume();
  setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
}
