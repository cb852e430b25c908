/**
 * A rollout as Kubernetes does it, for clients that find pods by DNS: two pods are replaced one by
 * one, and DNS has the pods that are ready. gRPC clients ask DNS at most every 30 s; here every
 * LOOKUP_MS, and everything else is shortened in proportion.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DnsServer } from '../support/dns-server.js';
import { freePort, REPOSITORY, type Scope, ServerProcess, SIMULATED } from '../support/server.js';

const LOOKUP_MS = 6_000;
/** Of a gRPC client, without an option. */
const USUAL_LOOKUP_S = 30;
const CALLER = fileURLToPath(new URL('../support/steady-caller.js', import.meta.url));

function chartValue(name: string): number {
  const values = readFileSync(join(REPOSITORY, 'helm/vitserve/values.yaml'), 'utf8');
  const [, value] = new RegExp(`^${name}: (\\d+)$`, 'm').exec(values) ?? [];
  assert.ok(value, name);
  return Number(value);
}

/** Every address of 127.0.0.0/8 is this machine; elsewhere only the first is. */
const LINUX = { skip: process.platform === 'linux' ? false : 'needs Linux' };

/** Replaces two pods, with a pause after each new one is ready. How the calls beside it ended. */
async function rollOut(scope: Scope, pauseMs: number): Promise<Record<string, number>> {
  const port = await freePort();
  const start = (address: string) =>
    ServerProcess.start(scope, [
      ...SIMULATED,
      ...['--address', `${address}:${port}`, '--drain-delay', '500ms'],
    ]);
  const names = [0, 1, 2, 3].map((pod) => `127.0.0.${10 + pod}`);
  const [first = '', second = '', ...fresh] = names;
  const pods = new Map<string, ServerProcess>();
  // The new ones too: how long a start takes here is not what this test is about.
  for (const name of names) pods.set(name, await start(name));
  const dns = await DnsServer.start(scope, [first, second]);
  const caller = spawn(
    process.execPath,
    [CALLER, `dns://127.0.0.1:${dns.port}/vitserve.test:${port}`, String(LOOKUP_MS)],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, GRPC_NODE_USE_ALTERNATIVE_RESOLVER: 'true' },
    },
  );
  scope.after(() => caller.kill('SIGKILL'));
  let output = '';
  caller.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await sleep(1_500);
  for (const [at, old] of [first, second].entries()) {
    dns.addresses = [...dns.addresses, fresh[at] as string];
    await sleep(pauseMs);
    dns.addresses = dns.addresses.filter((address) => address !== old);
    await pods.get(old)?.stop();
  }
  await sleep(1_000);
  caller.stdin.end();
  await once(caller, 'exit');
  return JSON.parse(output) as Record<string, number>;
}

describe('a rollout', LINUX, () => {
  test('with the pause that the chart makes costs no call its answer', async (t) => {
    const pauseMs = (chartValue('minReadySeconds') / USUAL_LOOKUP_S) * LOOKUP_MS;
    const ended = await rollOut(t, pauseMs);
    t.diagnostic(JSON.stringify(ended));
    assert.deepEqual(Object.keys(ended), ['OK']);
    assert.ok((ended.OK ?? 0) > 500);
  });

  test('without a pause leaves clients without a pod that they know', async (t) => {
    const { OK = 0, ...failed } = await rollOut(t, 0);
    t.diagnostic(`${OK} answered, ${JSON.stringify(failed)}`);
    assert.ok(Object.values(failed).reduce((sum, calls) => sum + calls, 0) > 0);
  });
});
