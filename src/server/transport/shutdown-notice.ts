/**
 * The first of the two GOAWAY frames with which HTTP/2 ends a connection (RFC 9113 §6.8). Its last
 * stream is 2³¹ − 1, so it only asks the client to begin no further calls, and the server still
 * takes those that are on their way.
 *
 * nghttp2 has a function for it (`nghttp2_submit_shutdown_notice`) that Node.js does not call:
 * after `session.goaway`, whatever its last stream, the session ignores calls that arrive. So this
 * file writes the frame to the socket past the session, at a moment when that cannot split another
 * frame: a session writes whole frames, and none of its writes waits. The write goes to the
 * descriptor, because the handle would report the end of the write to the session, which did not
 * make it and would end the process.
 *
 * Under TLS that is impossible, because all bytes go through the handle. There `session-life.ts`
 * does without the notice.
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
 * - `sent`: the notice is written.
 * - `busy`: other bytes wait to be written; try again.
 * - `impossible`: it cannot be sent on this connection.
 */
export type NoticeOutcome = 'sent' | 'busy' | 'impossible';

export function sendShutdownNotice(connection: Socket): NoticeOutcome {
  const { encrypted, _handle: handle } = connection as unknown as Inside;
  const { fd = -1, writeQueueSize } = handle ?? {};
  if (encrypted || connection.destroyed || fd < 0 || writeQueueSize === undefined)
    return 'impossible';
  if (writeQueueSize > 0) return 'busy';
  try {
    // Other bytes could go out before the rest of an incomplete frame.
    if (writeSync(fd, NOTICE) < NOTICE.length) connection.destroy();
    return 'sent';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 'busy' : 'impossible';
  }
}
