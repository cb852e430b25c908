/** A small measurement with a limit: one figure of docs/internals/reliability.md. */
import { memoryOf, treeOf } from '../../../support/process-tree.js';
import type { OwnScope, ServerProcess } from '../../../support/server.js';

export interface Measured {
  readonly figure: string;
  readonly holds: boolean;
}

export interface Check {
  readonly asked: string;
  measure(scope: OwnScope): Promise<Measured>;
}

/** MiB of the process and its children, or of these. */
export function memoryNow(server: ServerProcess, pids = treeOf(server.pid)): number {
  return memoryOf(pids) ?? Number.NaN;
}

const WATCH_EVERY_MS = 20;

/** The most memory held during a task, minus what was held before. */
export async function peakGrowth(
  server: ServerProcess,
  during: () => Promise<void>,
  pids = treeOf(server.pid),
): Promise<number> {
  const before = memoryNow(server, pids);
  let peak = before;
  const watching = setInterval(() => {
    peak = Math.max(peak, memoryNow(server, pids) || 0);
  }, WATCH_EVERY_MS);
  try {
    await during();
  } finally {
    clearInterval(watching);
  }
  return Math.max(peak, memoryNow(server, pids) || 0) - before;
}

export function mib(value: number): string {
  return `${value.toFixed(1)} MiB`;
}
