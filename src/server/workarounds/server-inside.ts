/**
 * What the server needs of grpc-js's inside and has no public way to: what HTTP/2 is begun with,
 * and its sessions.
 *
 * `commonServerOptions` and `http2Servers` are private fields, touched here and nowhere else; the
 * version of grpc-js is exact. Where an update has moved them, windows are small, and connections
 * have neither an age nor a limit of idleness: `test/unit/rpc/upload-window.test.ts` and
 * `test/integration/connection-end.test.ts` fail then.
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

/** Changes what every session is begun with; before the server listens or has an injector. */
export function changeSessionOptions(
  server: Server,
  change: (options: SessionOptions) => void,
): void {
  const { commonServerOptions } = server as unknown as Inside;
  if (commonServerOptions !== undefined) change(commonServerOptions);
}

/**
 * Calls back with every session, as soon as it begins; after the server listens or has an injector.
 */
export function onSession(server: Server, callback: (session: ServerHttp2Session) => void): void {
  const { http2Servers } = server as unknown as Inside;
  for (const http2Server of http2Servers?.keys() ?? []) http2Server.on('session', callback);
}
