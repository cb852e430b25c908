/**
 * Ends connections that HTTP/2 has given up.
 *
 * After a frame that can't be understood nghttp2 sends GOAWAY and wants neither to read nor to
 * write any more, nor does it after too many resets once no call is open; whoever uses it is to
 * drop the connection then (`nghttp2_session_want_read`). Node 20 stops reading and does nothing
 * else: no event, calls stay open, and that the client has left is never seen. Later versions close
 * such connections themselves in some of the cases.
 *
 * Nothing public tells that reading has stopped, so the socket's handle is asked: `readStart` fails
 * where it is on. Reading stops for a moment with every write that can't be done at once, too; so
 * it has to be off at two looks between which nothing was written, with nothing waiting to be. A
 * look costs a call or two of the handle. Where an update moves `_handle`, nothing breaks, but such
 * connections are left to the keepalive: `test/faults/broken-connections.test.ts` fails then.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../clock.js';

/** Twice this is how long a connection may outlive what broke it. */
const LOOK_MS = 500;

interface Inside {
  readonly _handle?: {
    readStart?(): number;
    readStop?(): number;
    readonly writeQueueSize?: number;
  } | null;
}

/**
 * Calls back once when `connection`, which HTTP/2 has, plaintext or TLS, was given up. Returns the
 * end of the watch.
 */
export function onStalled(connection: Socket, clock: Clock, callback: () => void): () => void {
  let writtenAtLastLook = -1;
  let cancel = () => {};
  const look = () => {
    const written = isUnread(connection) ? connection.bytesWritten : -1;
    if (written !== -1 && written === writtenAtLastLook) {
      callback();
      return;
    }
    writtenAtLastLook = written;
    cancel = clock.after(LOOK_MS, look);
  };
  cancel = clock.after(LOOK_MS, look);
  return () => cancel();
}

/** Whether nobody reads, although the other end has not closed and nothing waits to be written. */
function isUnread(connection: Socket): boolean {
  const { _handle: handle } = connection as unknown as Inside;
  if (connection.readableEnded || connection.writableEnded || handle?.readStart?.() !== 0)
    return false;
  handle.readStop?.();
  return handle.writeQueueSize === 0;
}
