/** What the server costs without calls, and what cancelled calls cost it. */
import { setMaxListeners } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { PlainClient } from '../../../support/grpc-client.js';
import { jpeg } from '../../../support/images.js';
import { underLoad } from '../../../support/load.js';
import { treeOf } from '../../../support/process-tree.js';
import { eventually, ON_CPU, ServerProcess } from '../../../support/server.js';
import { type Check, memoryNow, mib } from './check.js';

const IDLE_MS = 60_000;
/** sysconf(_SC_CLK_TCK), which is 100 wherever Node runs on Linux. */
const TICKS_A_SECOND = 100;

/** CPU seconds that the processes have used so far: utime and stime of proc_pid_stat(5). */
function cpuSeconds(pids: readonly number[]): number {
  const ticks = pids.map((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, each) => sum + each, 0) / TICKS_A_SECOND;
}

export const idle: Check = {
  asked: 'idle for a minute: at most 1 % of a core, all processes',
  async measure(scope) {
    const server = await ServerProcess.start(scope, ON_CPU);
    await delay(5_000);
    const pids = treeOf(server.pid);
    const before = cpuSeconds(pids);
    await delay(IDLE_MS);
    const share = ((cpuSeconds(pids) - before) * 1_000) / IDLE_MS;
    return { figure: `${(100 * share).toFixed(2)} % of a core`, holds: share <= 0.01 };
  },
};

const CALLS = 10_000;
const AT_A_TIME = 1_000;

export const leaving: Check = {
  asked: '10,000 queued calls are cancelled: nothing is held 1 s later, memory as before (5 MiB)',
  async measure(scope) {
    const flags = ['--execution-provider', 'simulated:1:50', '--permits', '1000'];
    const server = await ServerProcess.start(scope, flags);
    const client = new PlainClient(scope, server.address);
    const image = await jpeg(1, 64, 64);
    let slowestMs = 0;
    let before = Number.NaN;
    for (let round = 0; round * AT_A_TIME < CALLS; round++) {
      const leaving = new AbortController();
      setMaxListeners(0, leaving.signal);
      const calls = underLoad(AT_A_TIME, AT_A_TIME, () =>
        client.classify({ image }, { signal: leaving.signal }).catch(() => null),
      );
      await eventually(
        'the calls are there',
        async () => (await server.metric('vitserve_permits_in_use')) > AT_A_TIME / 2,
      );
      const since = performance.now();
      leaving.abort();
      await calls;
      for (const gauge of [
        'vitserve_permits_in_use',
        'vitserve_queue_length',
        'vitserve_uploads_in_flight',
      ]) {
        await server.metricIs(gauge, {}, 0);
      }
      slowestMs = Math.max(slowestMs, performance.now() - since);
      // The first rounds leave code and heap that every later one reuses.
      if (round === 4) before = memoryNow(server);
    }
    const grown = memoryNow(server) - before;
    const figure = `all gauges 0 after ${Math.round(slowestMs)} ms at most; ${mib(grown)} more after the last 5,000`;
    return { figure, holds: slowestMs <= 1_000 && grown <= 5 };
  },
};
