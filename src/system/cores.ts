/**
 * How many cores this process may use.
 *
 * A container's limit is a cgroup quota of CPU time, which older Node versions ignore: on a 64-core
 * node with a limit of 2 they would start 64 processes. This module reads cgroup v2 `cpu.max` of
 * this process's group and its parents, else v1 `cpu.cfs_quota_us` / `cpu.cfs_period_us`; see the
 * kernel's admin guide, cgroup-v2, "CPU Interface Files".
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

const CGROUP_ROOT = '/sys/fs/cgroup';

type ReadText = (path: string) => string | null;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
};

/**
 * At least 1; a fractional quota is rounded up, so that a process uses the last part of a core too.
 */
export function availableCores(
  parallelism = availableParallelism(),
  read: ReadText = readText,
): number {
  return Math.max(1, Math.min(parallelism, Math.ceil(cgroupQuota(read))));
}

/** The quota in cores; Infinity without one. */
function cgroupQuota(read: ReadText): number {
  const groups = read('/proc/self/cgroup') ?? '';
  let quota = Number.POSITIVE_INFINITY;
  for (let path = /^0::(.*)$/m.exec(groups)?.[1] ?? '/'; ; path = dirname(path)) {
    const [max, period] = (read(join(CGROUP_ROOT, path, 'cpu.max')) ?? 'max').split(' ');
    if (max !== 'max') quota = Math.min(quota, Number(max) / Number(period ?? 100_000));
    if (path === '/' || path === '.') break;
  }
  const v1 = /^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1];
  for (const path of v1 === undefined ? [] : [v1, '/']) {
    const micros = Number(read(join(CGROUP_ROOT, 'cpu', path, 'cpu.cfs_quota_us')) ?? -1);
    const period = Number(read(join(CGROUP_ROOT, 'cpu', path, 'cpu.cfs_period_us')) ?? 100_000);
    if (micros > 0) quota = Math.min(quota, micros / period);
  }
  return quota;
}
