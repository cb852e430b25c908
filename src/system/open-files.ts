/**
 * Whether the limit of open files (`ulimit -n`) has room for the connections that the server may
 * take.
 *
 * Node raises the soft limit to the hard one as it starts. Where that is not enough, a connection
 * too many is closed by Node without a word, and a lost process is not replaced until there is a
 * descriptor: worth a warning before it happens.
 */
import { readdirSync } from 'node:fs';
import { openFilesLimit } from './system-errors.js';

/**
 * For probes and scrapes, processes that are started beside others, and files that are read again.
 */
const SPARE = 128;

export interface OpenFilesShortage {
  readonly limit: number;
  readonly needed: number;
  readonly remedy: string;
}

/**
 * To be asked when all processes run and nobody is connected. Null: there is room, or it can't be
 * known.
 */
export function openFilesShortage(maxConnections: number): OpenFilesShortage | null {
  const limit = openFilesLimit();
  if (limit === null) return null;
  const needed = readdirSync('/proc/self/fd').length + maxConnections + SPARE;
  if (needed <= limit) return null;
  const remedy = `raise the limit ("ulimit -n ${needed}", LimitNOFILE= of systemd, --ulimit nofile of docker), or lower max-connections`;
  return { limit, needed, remedy };
}
