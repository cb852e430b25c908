/**
 * Whether the limit of open files (`ulimit -n`) is high enough for the connections that the server
 * accepts.
 *
 * Node raises the soft limit to the hard one as it starts. If that is not enough, Node closes
 * surplus connections silently, and a lost process is not replaced until a descriptor is free:
 * worth a warning before it happens.
 */
import { readdirSync } from 'node:fs';
import { openFilesLimit } from './system-errors.js';

/** For probes and scrapes, processes that start beside others, and files that are read again. */
const SPARE = 128;

export interface OpenFilesShortage {
  readonly limit: number;
  readonly needed: number;
  readonly remedy: string;
}

/**
 * Call it when all processes run and no client is connected. Null: the limit is high enough, or
 * unknown.
 */
export function openFilesShortage(maxConnections: number): OpenFilesShortage | null {
  const limit = openFilesLimit();
  if (limit === null) return null;
  const needed = readdirSync('/proc/self/fd').length + maxConnections + SPARE;
  if (needed <= limit) return null;
  const remedy =
    `raise the limit ("ulimit -n ${needed}", LimitNOFILE= of systemd, ` +
    '--ulimit nofile of docker), or lower max-connections';
  return { limit, needed, remedy };
}
