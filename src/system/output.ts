/**
 * Writes to an inherited descriptor without waiting for its reader.
 *
 * A pipe, a socket or a terminal whose reader stalls takes nothing, and a blocking write to it
 * holds its thread. A thread of libuv's pool does not help: the process can't end before the thread
 * returns. So they are written without blocking, through a description of our own
 * (`/proc/self/fd`), because the flag belongs to the description and a shell may share it. If there
 * can't be one (sockets have none; a pipe may belong to another user), the shared description gets
 * the flag, which Node resets at exit. A file blocks only while its disk does: it is written on a
 * thread of the pool, which costs some 0.1 ms of CPU each time, so bytes are gathered for it.
 */
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import koffi from 'koffi';

/**
 * Calls `done` at once or later. Without an error some of the bytes were written, not always all of
 * them.
 */
export type WriteBytes = (
  bytes: Buffer,
  done: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void;

export interface Output {
  readonly write: WriteBytes;
  /** How long to gather bytes for a write. */
  readonly gatherMs: number;
}

const FILE_GATHER_MS = 10;

const F_GETFL = 3;
const F_SETFL = 4;

export function outputTo(fd: number): Output {
  if (fstatSync(fd).isFile()) {
    return { write: (bytes, done) => write(fd, bytes, done), gatherMs: FILE_GATHER_MS };
  }
  const own = withoutBlocking(fd);
  const writeNow: WriteBytes = (bytes, done) => {
    let written: number;
    try {
      written = writeSync(own, bytes);
    } catch (error) {
      done(error as NodeJS.ErrnoException, 0);
      return;
    }
    done(null, written);
  };
  return { write: writeNow, gatherMs: 0 };
}

function withoutBlocking(fd: number): number {
  if (process.platform !== 'linux') return fd;
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    const fcntl = koffi.load(null).func('int fcntl(int fd, int command, ...)');
    fcntl(fd, F_SETFL, 'int', fcntl(fd, F_GETFL, 'int', 0) | O_NONBLOCK);
    return fd;
  }
}
