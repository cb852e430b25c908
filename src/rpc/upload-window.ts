/**
 * Wider HTTP/2 windows for uploads.
 *
 * With the protocol's own 64 KiB an image of 110 KB waits for a window update in the middle, and arrives in 16 KiB frames each of
 * which costs a turn of JavaScript. grpc-js has no public way to say otherwise on a server (grpc-node#3058): `commonServerOptions`
 * and `http2Servers` are private fields of it, touched here and nowhere else. Where an update has moved them the server works
 * as before, only slower, and `test/unit/rpc/upload-window.test.ts` fails.
 *
 * What it costs: a connection may have CONNECTION_WINDOW_BYTES, a call STREAM_WINDOW_BYTES on the way before anything was refused.
 */
import type { Http2Server, Settings } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

export const STREAM_WINDOW_BYTES = 256 * 1024;
export const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const FRAME_BYTES = 256 * 1024;

interface Inside {
  readonly commonServerOptions?: { settings?: Settings };
  readonly http2Servers?: Map<Http2Server, unknown>;
}

/** Before `bindAsync`: what the server tells each client of its windows and frames. */
export function widenStreamWindows(server: Server): void {
  const { commonServerOptions } = server as unknown as Inside;
  if (commonServerOptions === undefined) return;
  const { settings } = commonServerOptions;
  commonServerOptions.settings = { ...settings, initialWindowSize: STREAM_WINDOW_BYTES, maxFrameSize: FRAME_BYTES };
}

/** After `bindAsync`: the window that all calls of a connection share, which HTTP/2 has no setting for. */
export function widenConnectionWindows(server: Server): void {
  const { http2Servers } = server as unknown as Inside;
  for (const http2Server of http2Servers?.keys() ?? []) {
    http2Server.on('session', (session) => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
  }
}
