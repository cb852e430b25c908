/** CPU time and memory, read of the process that runs the test. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { readProcessUsage } from '#vitserve/server/telemetry/process-usage.js';

const skip = existsSync('/proc/self/stat') ? false : 'this system has no /proc';

describe('the usage of a process', { skip }, () => {
  test('is what the process itself knows of its CPU time and memory', async () => {
    const cpuSeconds = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    };
    // Enough time in the kernel for it to be missed.
    while (process.cpuUsage().system < 150_000) readFileSync('/proc/self/maps');
    const before = cpuSeconds();
    const usage = await readProcessUsage(process.pid);
    assert.ok(usage);
    // /proc counts in ticks of 10 ms.
    assert.ok(usage.cpuSeconds >= before - 0.03 && usage.cpuSeconds <= cpuSeconds() + 0.03);
    const ratio = usage.residentBytes / process.memoryUsage.rss();
    assert.ok(ratio > 0.8 && ratio < 1.25, `the ratio is ${ratio}`);
  });

  test('is the same where the name of the process has spaces and parentheses', async (context) => {
    const { title } = process;
    context.after(() => {
      process.title = title;
    });
    process.title = 'a) (b c';
    const usage = await readProcessUsage(process.pid);
    assert.ok(usage && usage.residentBytes > 2 ** 20 && usage.residentBytes < 2 ** 40);
    assert.ok(usage.cpuSeconds > 0 && usage.cpuSeconds < 3_600);
  });
});

test('there is none of a process that is gone', async () => {
  assert.equal(await readProcessUsage(2 ** 30), null);
});
