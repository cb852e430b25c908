/** Cores by the quota of the control groups. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { availableCores } from '#vitserve/system/cores.js';

/** The cores of a machine with 64 of them and only these files. */
function coresWith(files: Readonly<Record<string, string>>, parallelism = 64): number {
  return availableCores(parallelism, (path) => files[path] ?? null);
}

describe('cgroup v2', () => {
  test('the quota of the group is the number of cores', () => {
    assert.equal(
      coresWith({ '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': '200000 100000' }),
      2,
    );
  });

  test('a fractional quota is rounded up', () => {
    const withQuota = (max: number) =>
      coresWith({ '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': `${max} 100000` });
    assert.deepEqual([1_000, 50_000, 100_000, 100_001, 250_000].map(withQuota), [1, 1, 1, 2, 3]);
  });

  test('the period counts, and defaults to 100 ms', () => {
    assert.equal(coresWith({ '/sys/fs/cgroup/cpu.max': '200000 50000' }), 4);
    assert.equal(coresWith({ '/sys/fs/cgroup/cpu.max': '300000' }), 3);
  });

  test('the smallest quota between the group and the root counts', () => {
    const groups = { '/proc/self/cgroup': '0::/kubepods/pod1/container' };
    const quotas = (container: string, pod: string, all: string) =>
      coresWith({
        ...groups,
        '/sys/fs/cgroup/kubepods/pod1/container/cpu.max': container,
        '/sys/fs/cgroup/kubepods/pod1/cpu.max': pod,
        '/sys/fs/cgroup/kubepods/cpu.max': all,
      });
    assert.equal(quotas('300000 100000', 'max 100000', 'max 100000'), 3);
    assert.equal(quotas('max 100000', '200000 100000', '800000 100000'), 2);
    assert.equal(quotas('max 100000', 'max 100000', '500000 100000'), 5);
    assert.equal(quotas('max 100000', 'max 100000', 'max 100000'), 64);
  });

  test('of a group that is not visible, as in a container, the visible root counts', () => {
    const files = {
      '/proc/self/cgroup': '0::/kubepods/pod1',
      '/sys/fs/cgroup/cpu.max': '150000 100000',
    };
    assert.equal(coresWith(files), 2);
  });
});

describe('cgroup v1', () => {
  const GROUPS = [
    '12:memory:/docker/abc',
    '4:cpuset:/other',
    '3:cpu,cpuacct:/docker/abc',
    '1:name=systemd:/x',
  ].join('\n');

  test('the quota of the cpu controller is the number of cores', () => {
    const files = {
      '/proc/self/cgroup': GROUPS,
      '/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us': '250000',
      '/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us': '100000',
    };
    assert.equal(coresWith(files), 3);
  });

  test('in a container the files lie at the root', () => {
    const files = {
      '/proc/self/cgroup': GROUPS,
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '100000',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '50000',
    };
    assert.equal(coresWith(files), 2);
  });

  test('a quota of −1 means no quota', () => {
    const files = {
      '/proc/self/cgroup': GROUPS,
      '/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us': '-1',
    };
    assert.equal(coresWith(files), 64);
  });

  test('the cpuset controller is not the cpu controller', () => {
    const files = {
      '/proc/self/cgroup': '4:cpuset:/other',
      '/sys/fs/cgroup/cpu/other/cpu.cfs_quota_us': '100000',
    };
    assert.equal(coresWith(files), 64);
  });
});

test("without control groups the system's number counts", () => {
  assert.equal(coresWith({}), 64);
  assert.equal(coresWith({ '/proc/self/cgroup': '' }, 3), 3);
});

test('a quota above the number of cores changes nothing', () => {
  assert.equal(coresWith({ '/sys/fs/cgroup/cpu.max': '800000 100000' }, 2), 2);
});

test('this machine has at least one', () => {
  assert.ok(Number.isInteger(availableCores()) && availableCores() >= 1);
});
