/**
 * Wider HTTP/2 windows for uploads.
 *
 * With the protocol's own 64 KiB an image of 110 KB waits for a window update in the middle, and
 * arrives in 16 KiB frames each of which costs a turn of JavaScript. grpc-js has no public way to
 * say otherwise on a server (grpc-node#3058), so its inside is touched (`server-inside.ts`). Where
 * an update has moved that the server works as before, only slower, and
 * `test/unit/rpc/upload-window.test.ts` fails.
 *
 * What it costs: a connection may have CONNECTION_WINDOW_BYTES, a call STREAM_WINDOW_BYTES on the
 * way before anything was refused.
 */
import type { Server } from '@grpc/grpc-js';
import { changeSessionOptions, onSession } from './server-inside.js';

export const STREAM_WINDOW_BYTES = 256 * 1024;
export const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const FRAME_BYTES = 256 * 1024;

/** Before `bindAsync`: what the server tells each client of its windows and frames. */
export function widenStreamWindows(server: Server): void {
  changeSessionOptions(server, (options) => {
    options.settings = {
      ...options.settings,
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxFrameSize: FRAME_BYTES,
    };
  });
}

/**
 * After `bindAsync`: the window that all calls of a connection share, which HTTP/2 has no setting
 * for.
 */
export function widenConnectionWindows(server: Server): void {
  onSession(server, (session) => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
}
