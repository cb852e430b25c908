/**
 * Access to the HTTP/2 options and sessions of a grpc-js server.
 *
 * - Fact: grpc-js has no public way to them. They are in the private fields `commonServerOptions`
 *   and `http2Servers` (`server.ts`).
 * - Seen with: @grpc/grpc-js 1.14.7.
 * - Fails when it breaks: `test/integration/upload-window.test.ts`,
 *   `test/integration/connection-end.test.ts`. Windows are small then, and connections have no
 *   limit of age or idle time.
 * - Delete when: grpc-js takes HTTP/2 session options and tells of new sessions.
 */
import type { Http2Server, ServerHttp2Session, ServerOptions } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/** Options that the types of Node 20 do not have. */
export interface SessionOptions extends ServerOptions {
  streamResetBurst?: number;
  streamResetRate?: number;
}

interface Inside {
  readonly commonServerOptions?: SessionOptions;
  readonly http2Servers?: Map<Http2Server, unknown>;
}

/** Changes the options of all sessions. Call it before the server listens or has an injector. */
export function changeSessionOptions(
  server: Server,
  change: (options: SessionOptions) => void,
): void {
  const { commonServerOptions } = server as unknown as Inside;
  if (commonServerOptions !== undefined) change(commonServerOptions);
}

/**
 * Calls back with every session as it begins. Call it after the server listens or has an injector.
 */
export function onSession(server: Server, callback: (session: ServerHttp2Session) => void): void {
  const { http2Servers } = server as unknown as Inside;
  for (const http2Server of http2Servers?.keys() ?? []) http2Server.on('session', callback);
}
