/**
 * Writing to a descriptor that others have handed over without waiting for whoever is behind it.
 *
 * A pipe, a socket and a terminal take nothing while nobody reads, and a write to one that blocks holds its thread. On a thread
 * of libuv's pool that is no way out: the process can't end before the thread comes back. So they are written without
 * blocking, through a description of our own (`/proc/self/fd`), because the flag belongs to the description and a shell may
 * share it. Where there can't be one (sockets have none; a pipe may belong to another user), the shared one gets the flag,
 * which Node takes back when it exits. A file blocks only while its disk does: it is written on a thread of the pool.
 */
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import koffi from 'koffi';

/** Calls `done` at once or later. Without an error some of the bytes were taken, not always all of them. */
export type WriteBytes = (bytes: Buffer, done: (error: NodeJS.ErrnoException | null, written: number) => void) => void;

const F_GETFL = 3;
const F_SETFL = 4;

export function writerOf(fd: number): WriteBytes {
  if (fstatSync(fd).isFile()) return (bytes, done) => write(fd, bytes, done);
  const own = withoutBlocking(fd);
  return (bytes, done) => {
    let written: number;
    try {
      written = writeSync(own, bytes);
    } catch (error) {
      done(error as NodeJS.ErrnoException, 0);
      return;
    }
    done(null, written);
  };
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
