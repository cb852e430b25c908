/**
 * Ends connections whose HTTP/2 session has stalled.
 *
 * After a malformed frame, or after too many resets once no call is open, nghttp2 sends GOAWAY and
 * wants neither to read nor to write. Its user is expected to drop the connection then
 * (`nghttp2_session_want_read`). Node 20 only stops reading: it emits no event, calls stay open,
 * and it never sees that the client has gone. Later versions close such connections in some cases.
 *
 * No public API shows that reading has stopped, so this file asks the handle of the socket:
 * `readStart` fails while reading is on. Reading also stops for a moment with every write that has
 * to wait. So a session counts as stalled when reading is off at two looks, with nothing written
 * between them and nothing waiting to be written. A look costs a call or two of the handle.
 *
 * - Fact: `net.Socket` has `_handle` (`lib/net.js`), with `readStart`, `readStop` and
 *   `writeQueueSize`.
 * - Seen with: Node.js 20.20, 22 and 24.
 * - Fails when it breaks: `test/faults/broken-connections.test.ts`; only the keepalive ends such
 *   connections then.
 * - Delete when: every supported Node closes a session that nghttp2 has given up.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../clock.js';

/** A broken connection may live for twice this time. */
const LOOK_MS = 500;

interface Inside {
  readonly _handle?: {
    readStart?(): number;
    readStop?(): number;
    readonly writeQueueSize?: number;
  } | null;
}

/**
 * Calls back once when the HTTP/2 session on `connection`, plaintext or TLS, has stalled. Returns a
 * function that ends the watch.
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

/** Whether reading is off, although the client has not closed and nothing waits to be written. */
function isUnread(connection: Socket): boolean {
  const { _handle: handle } = connection as unknown as Inside;
  if (connection.readableEnded || connection.writableEnded || handle?.readStart?.() !== 0)
    return false;
  handle.readStop?.();
  return handle.writeQueueSize === 0;
}
