/**
 * The first of the two GOAWAY frames with which HTTP/2 ends a connection (RFC 9113 §6.8): its last
 * stream is 2³¹ − 1, so it only asks the client to begin no further calls, and those that are on
 * their way are taken.
 *
 * nghttp2 has a function for it (`nghttp2_submit_shutdown_notice`) that Node.js does not call:
 * after `session.goaway`, whatever its last stream, calls that arrive are ignored. So the frame is
 * written to the socket behind the session's back, at a moment when that can't break another frame
 * in two: a session writes whole frames at a time, and nothing that it has written waits. The write
 * goes to the descriptor itself, because the end of a write through the handle would be told to the
 * session, which did not make it and ends the process.
 *
 * Under TLS there is no such way: all bytes go through the handle. `session-life.ts` does without
 * the notice there.
 */
import { writeSync } from 'node:fs';
import type { Socket } from 'node:net';

/** GOAWAY of 8 bytes on stream 0: last stream 2³¹ − 1, NO_ERROR. */
const NOTICE = Buffer.from('0000080700000000007fffffff00000000', 'hex');

interface Inside {
  readonly encrypted?: boolean;
  readonly _handle?: { readonly fd?: number; readonly writeQueueSize?: number } | null;
}

/**
 * - `sent`: the client will know.
 * - `busy`: something waits to be written; ask again.
 * - `impossible`: there is no way on this connection.
 */
export type NoticeOutcome = 'sent' | 'busy' | 'impossible';

export function sendShutdownNotice(connection: Socket): NoticeOutcome {
  const { encrypted, _handle: handle } = connection as unknown as Inside;
  const { fd = -1, writeQueueSize } = handle ?? {};
  if (encrypted || connection.destroyed || fd < 0 || writeQueueSize === undefined)
    return 'impossible';
  if (writeQueueSize > 0) return 'busy';
  try {
    // The rest of a frame that went out in part could not be sent before something else is.
    if (writeSync(fd, NOTICE) < NOTICE.length) connection.destroy();
    return 'sent';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 'busy' : 'impossible';
  }
}
