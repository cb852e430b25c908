/**
 * CPU time and memory of a child, from `/proc/<pid>/stat`; see proc_pid_stat(5).
 */
import { readFile } from 'node:fs/promises';

export interface ProcessUsage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

/** Clock ticks a second and bytes a page, as Linux has them on all platforms of Node. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

/** Null: the process is gone, or the system has no such file. */
export async function readProcessUsage(pid: number): Promise<ProcessUsage | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  // The second field, the command in parentheses, may contain spaces. Field 3 follows the last
  // parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return {
    cpuSeconds: (field(14) + field(15)) / TICKS_PER_SECOND,
    residentBytes: field(24) * PAGE_BYTES,
  };
}
