/**
 * Wider HTTP/2 windows for uploads.
 *
 * With the protocol's 64 KiB an image of 110 KB waits for a window update halfway, and arrives in
 * 16 KiB frames, each of which costs a turn of JavaScript. What it costs: before the server rejects
 * anything, a connection may send CONNECTION_WINDOW_BYTES, a call STREAM_WINDOW_BYTES.
 *
 * - Fact: a grpc-js server has no option for its windows (grpc/grpc-node#3058), so this goes
 *   through `server-inside.ts`.
 * - Seen with: @grpc/grpc-js 1.14.7.
 * - Fails when it breaks: `test/integration/upload-window.test.ts`. The server works
 *   then, only slower.
 * - Delete when: grpc-js has options for windows and frames.
 */
import type { Server } from '@grpc/grpc-js';
import { changeSessionOptions, onSession } from './server-inside.js';

export const STREAM_WINDOW_BYTES = 256 * 1024;
export const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const FRAME_BYTES = 256 * 1024;

/** Sets what the server tells each client of its windows and frames. Call it before it listens. */
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
 * Widens the window that all calls of a connection share, for which HTTP/2 has no setting. Call it
 * after the server listens or has an injector.
 */
export function widenConnectionWindows(server: Server): void {
  onSession(server, (session) => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
}
