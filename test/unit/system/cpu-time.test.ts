/** The processor time of a process, according to the system. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuMsOf } from '#vitserve/system/cpu-time.js';

const LINUX = process.platform === 'linux' ? {} : { skip: 'only Linux has /proc' };

test(
  'equals what the process itself says, to the step of 10 ms, and grows as it works',
  LINUX,
  () => {
    const own = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    };
    const before = own();
    const told = cpuMsOf(process.pid);
    const after = own();
    // The kernel counts user and system time in whole steps each.
    assert.ok(
      told !== null && told > before - 30 && told < after + 30,
      `${before} ≤ ${told} ≤ ${after}`,
    );
    while (own() < after + 50) Math.hypot(told, after);
    assert.ok((cpuMsOf(process.pid) ?? 0) >= told + 20);
  },
);

test('is null if there is no such process', () => assert.equal(cpuMsOf(2 ** 22 + 1), null));
