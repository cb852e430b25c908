/**
 * Whole reads and writes at a position of a file: the kernel may transfer less than it was asked
 * for, and never more than 2 GiB at a time.
 */
import { readSync, writeSync } from 'node:fs';

const LARGEST_TRANSFER = 2 ** 30;

/** Fills `target` with the file's bytes from `position` on. False if the file ends before. */
export function readFullyAt(fd: number, target: Uint8Array, position: number): boolean {
  for (let done = 0; done < target.length; ) {
    const wanted = Math.min(target.length - done, LARGEST_TRANSFER);
    const count = readSync(fd, target, done, wanted, position + done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}

export function writeFullyAt(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const wanted = Math.min(bytes.length - done, LARGEST_TRANSFER);
    done += writeSync(fd, bytes, done, wanted, position + done);
  }
}
