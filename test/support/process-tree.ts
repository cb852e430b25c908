/** The resources of a process and its children, according to the system. */
import { readdirSync, readFileSync } from 'node:fs';
import { childrenOf } from './server.js';

const KIBIBYTES_PER_MEBIBYTE = 1024;

/**
 * MiB of these processes, shared memory counted once (PSS); null if one has just ended, or without
 * /proc.
 */
export function memoryOf(pids: readonly number[]): number | null {
  let kibibytes = 0;
  for (const pid of pids) {
    try {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      kibibytes += Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0);
    } catch {
      return null;
    }
  }
  return kibibytes / KIBIBYTES_PER_MEBIBYTE;
}

/** Open descriptors of a process; null if there is none. */
export function descriptorsOf(pid: number): number | null {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return null;
  }
}

/** The process first, then its children. */
export function treeOf(pid: number): number[] {
  return [pid, ...childrenOf(pid)];
}
