/**
 * Processes that die or hang while calls are in flight: the front stays, and every call gets the
 * right answer. Each run writes its figures into its diagnostics.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import {
  CallFailure,
  type ClassifyResponse,
  failureOf,
  outcomeOf,
  PlainClient,
} from '../support/grpc-client.js';
import { jpeg, plainPng } from '../support/images.js';
import { continuousLoad } from '../support/load.js';
import {
  type Child,
  eventually,
  isAlive,
  ON_CPU,
  type Role,
  type Scope,
  ServerProcess,
  SIMULATED,
  temporaryFolder,
} from '../support/server.js';

const CALLERS = 16;
/** Answers before the fault and after the recovery. */
const CALLS_BEFORE = 60;
const CALLS_AFTER = 120;
const TWO_EACH = ['--decoder-processes', '2', '--inference-processes', '2'];

type Outcome = ClassifyResponse | CallFailure;

interface Loaded {
  readonly server: ServerProcess;
  readonly client: PlainClient;
  readonly load: ReturnType<typeof continuousLoad<Outcome>>;
  /** Ends the load and checks every answer. Resolves with the failures. */
  finish(): Promise<CallFailure[]>;
}

/** A server with the real model under load, each picture's right answer known. */
async function loadedServer(scope: Scope, flags: readonly string[]): Promise<Loaded> {
  const server = await ServerProcess.start(scope, [...ON_CPU, '--permits', '64', ...flags]);
  const client = new PlainClient(scope, server.address);
  const images = await Promise.all(Array.from({ length: 8 }, (_, seed) => jpeg(seed)));
  const expected: ClassifyResponse[] = [];
  for (const image of images) expected.push(await client.classify({ image }));
  assert(
    new Set(expected.map(({ predictions }) => JSON.stringify(predictions))).size === images.length,
  );

  const load = continuousLoad<Outcome>(CALLERS, async (index) => {
    const at = index % images.length;
    const outcome = await outcomeOf(client.classify({ image: images[at] as Buffer }));
    if (!(outcome instanceof CallFailure))
      assert.deepEqual(outcome.predictions, expected[at]?.predictions);
    return outcome;
  });
  const finish = async () => {
    const failures = (await load.stop()).filter((outcome) => outcome instanceof CallFailure);
    for (const { code, reason, message } of failures) {
      assert.deepEqual([code, reason], ['UNAVAILABLE', 'PROCESS_LOST'], message);
    }
    return failures;
  };
  return { server, client, load, finish };
}

async function answers({ load }: Loaded, count: number): Promise<void> {
  const wanted = load.results.length + count;
  await eventually(`${wanted} calls have ended`, () => load.results.length >= wanted);
}

async function replacement(server: ServerProcess, lost: Child): Promise<Child> {
  return await eventually(`${lost.role} process ${lost.index} is replaced`, () =>
    server.children(lost.role).find(({ index, pid }) => index === lost.index && pid !== lost.pid),
  );
}

/** Does something to one child under load and sees it replaced. */
async function surviveLoss(
  t: TestContext,
  role: Role,
  cause: string,
  flags: string[],
  hurt: (pid: number) => void,
) {
  const loaded = await loadedServer(t, flags);
  const { server, load } = loaded;
  await answers(loaded, CALLS_BEFORE);
  const losses = async () => await server.metric('vitserve_process_losses_total', { role, cause });
  assert.equal(await losses(), 0);
  const [victim] = server.children(role);
  assert(victim);
  const since = performance.now();
  hurt(victim.pid);
  await eventually(
    'the loss is noticed',
    () => !server.children(role).some(({ pid }) => pid === victim.pid),
  );
  const noticedMs = Math.round(performance.now() - since);
  await replacement(server, victim);
  const recoveredMs = Math.round(performance.now() - since);
  await answers(loaded, CALLS_AFTER);
  const failures = await loaded.finish();

  assert.equal(await losses(), 1);
  await server.metricIs('vitserve_process_ready', { role }, 2);
  await server.metricIs('vitserve_permits_in_use', {}, 0);
  assert.equal(
    failures.length,
    0,
    `${failures.length} of ${load.results.length} calls failed: ${failures[0]?.message}`,
  );
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  t.diagnostic(
    `${load.results.length} calls, ${failures.length} failed; noticed after ${noticedMs} ms, replaced after ${recoveredMs} ms`,
  );
  return { noticedMs };
}

for (const role of ['decoder', 'inference'] as const) {
  const a = role === 'decoder' ? 'a' : 'an';
  test(`${a} ${role} process killed under load costs no answer and is replaced`, async (t) => {
    await surviveLoss(t, role, 'signal', TWO_EACH, (pid) => process.kill(pid, 'SIGKILL'));
  });

  // How long a decoder may take follows from how large images may be.
  const threeSeconds =
    role === 'decoder'
      ? ['--max-image-pixels', '10000000', '--max-image-bytes', '4MiB']
      : ['--inference-timeout', '3s'];
  test(`${a} ${role} process that hangs is killed when its time is over and replaced, at no call’s cost`, async (t) => {
    const { noticedMs } = await surviveLoss(
      t,
      role,
      'timeout',
      [...TWO_EACH, ...threeSeconds],
      (pid) => process.kill(pid, 'SIGSTOP'),
    );
    // The time had begun with the call that it was working on.
    assert(noticedMs >= 2_000, `noticed after ${noticedMs} ms, before its time`);
  });
}

for (const role of ['decoder', 'inference'] as const) {
  test(`while the only ${role} process is replaced, the server is not ready`, async (t) => {
    const server = await ServerProcess.start(t, [...SIMULATED, '--permits', '32']);
    const client = new PlainClient(t, server.address);
    const watch = client.watch();
    await watch.count(1);
    const image = await plainPng([7, 8, 9]);
    const [victim] = server.children(role);
    assert(victim);
    process.kill(victim.pid, 'SIGKILL');
    await watch.count(2);
    assert.equal((await server.get('/livez')).status, 200);
    const calls = Array.from({ length: 8 }, () => client.embed({ image }));
    for (const { embedding } of await Promise.all(calls)) assert.deepEqual(embedding, [7, 8, 9]);
    await watch.count(3);
    assert.deepEqual(watch.statuses, ['SERVING', 'NOT_SERVING', 'SERVING']);
    assert.equal((await server.get('/readyz')).status, 200);
  });

  test(`while one of two ${role} processes is replaced the server stays ready`, async (t) => {
    const server = await ServerProcess.start(t, [
      '--execution-provider',
      'simulated:1:0.1',
      '--permits',
      '32',
      ...TWO_EACH,
    ]);
    const client = new PlainClient(t, server.address);
    const watch = client.watch();
    await watch.count(1);
    const [victim] = server.children(role);
    assert(victim);
    process.kill(victim.pid, 'SIGKILL');
    await replacement(server, victim);
    assert.deepEqual(
      (await client.embed({ image: await plainPng([7, 8, 9]) })).embedding,
      [7, 8, 9],
    );
    assert.deepEqual(watch.statuses, ['SERVING']);
  });
}

test('an image whose processes are all killed from outside gets PROCESS_LOST', async (t) => {
  // Half a second of execution is time enough to kill the process in.
  const flags = [
    '--execution-provider',
    'simulated:1:500',
    '--decoder-processes',
    '1',
    '--permits',
    '1',
  ];
  const server = await ServerProcess.start(t, flags);
  const client = new PlainClient(t, server.address);
  const image = await plainPng([7, 8, 9]);
  const outcome = failureOf(client.embed({ image }));
  await server.metricIs('vitserve_permits_in_use', {}, 1);
  const killed: number[] = [];
  for (let attempt = 1; attempt <= 3; attempt++) {
    const child = await eventually(`inference process number ${attempt}`, () =>
      server.children('inference').find(({ pid }) => !killed.includes(pid)),
    );
    process.kill(child.pid, 'SIGKILL');
    killed.push(child.pid);
  }
  const { code, reason, pushbackMs } = await outcome;
  assert.deepEqual([code, reason], ['UNAVAILABLE', 'PROCESS_LOST']);
  assert(Number(pushbackMs) > 0);
  assert.equal(await server.metric('vitserve_retries_total', { stage: 'batch' }), 2);
  assert.equal(await server.metric('vitserve_process_losses_total', { role: 'inference' }), 3);
  await server.metricIs('vitserve_permits_in_use', {}, 0);
  assert.deepEqual((await client.embed({ image })).embedding, [7, 8, 9]);
});

describe('a front that is killed (SIGKILL)', () => {
  const LIMIT_MS = 5_000;

  test('takes its children with it, busy or stopped, and leaves no slot file', async (t) => {
    const folder = temporaryFolder(t);
    const server = await ServerProcess.start(t, [
      '--execution-provider',
      'simulated:1:30',
      '--decoder-processes',
      '2',
      '--inference-processes',
      '3',
      '--permits',
      '16',
      '--shared-memory-dir',
      folder,
    ]);
    const client = new PlainClient(t, server.address);
    const image = await plainPng([1, 2, 3]);
    const load = continuousLoad(CALLERS, () => outcomeOf(client.embed({ image })));
    await eventually('calls are answered', () => load.results.length > CALLERS);
    const pids = server.childPids();
    assert.equal(pids.length, 5);
    const [decoder] = server.children('decoder');
    const [inference] = server.children('inference');
    assert(decoder && inference);
    for (const { pid } of [decoder, inference]) process.kill(pid, 'SIGSTOP');

    server.signal('SIGKILL');
    const since = performance.now();
    assert.deepEqual(await server.exited, { code: null, signal: 'SIGKILL' });
    await eventually('all children are gone', () => !pids.some(isAlive), LIMIT_MS);
    t.diagnostic(`all children gone after ${Math.round(performance.now() - since)} ms`);
    client.close();
    await load.stop();
    assert.deepEqual(readdirSync(folder), []);
  });

  test('takes children with it that are still starting', async (t) => {
    const server = ServerProcess.spawn(t, SIMULATED);
    await eventually('there is a child', () => server.childPids().length > 0);
    server.signal('SIGKILL');
    await server.exited;
    await eventually('all children are gone', () => server.childrenLeft().length === 0, LIMIT_MS);
  });
});
