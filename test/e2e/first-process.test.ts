/**
 * The server as process 1, as in a container: there the kernel delivers only the signals that a
 * process has handlers for, and no other process reaps its children. In a PID namespace of its own,
 * if the system allows one.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg } from '../support/images.js';
import {
  childrenOf,
  eventually,
  ON_CPU,
  ONE_EACH,
  PROGRAM,
  processState,
  ServerProcess,
} from '../support/server.js';

const NAMESPACE = [
  'unshare',
  '--user',
  '--map-root-user',
  '--pid',
  '--fork',
  '--mount-proc',
  '--kill-child',
];
const IN_NAMESPACE = { within: NAMESPACE, ownPids: true };
const [command, ...args] = NAMESPACE;
const AS_FIRST =
  spawnSync(command as string, [...args, 'true']).status === 0
    ? {}
    : { skip: 'no PID namespace can be made here' };

/** The server's process id outside of the namespace. */
async function frontOf(server: ServerProcess): Promise<number> {
  const pid = await eventually('the server in its namespace', () => childrenOf(server.pid)[0]);
  assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^NSpid:\s+\d+\s+1$/m);
  return pid;
}

test('drains on SIGTERM: calls in flight are answered, exit code 0', AS_FIRST, async (t) => {
  const server = await ServerProcess.start(
    t,
    ['--execution-provider', 'simulated:1:300', ...ONE_EACH],
    IN_NAMESPACE,
  );
  const front = await frontOf(server);
  const client = new PlainClient(t, server.address);
  const image = await jpeg(1);
  const calls = [client.classify({ image }), client.classify({ image })];
  await server.metricIs('vitserve_permits_in_use', {}, 2);
  process.kill(front, 'SIGTERM');
  assert.equal((await Promise.all(calls)).length, 2);
  assert.deepEqual(await server.exited, { code: 0, signal: null });
});

test('lost children are replaced and reaped: no zombies', AS_FIRST, async (t) => {
  const server = await ServerProcess.start(t, [...ONE_EACH, ...ON_CPU], IN_NAMESPACE);
  const front = await frontOf(server);
  for (const pid of childrenOf(front)) process.kill(pid, 'SIGKILL');
  await eventually(
    'both are replaced',
    () => server.lines.filter(({ msg }) => msg === 'process ready').length === 4,
  );
  const client = new PlainClient(t, server.address);
  assert.equal((await client.classify({ image: await jpeg(1) })).model.name, 'vit-cifar10');
  assert.deepEqual(
    childrenOf(front).filter((pid) => processState(pid) === 'Z'),
    [],
  );
  process.kill(front, 'SIGTERM');
  assert.deepEqual(await server.exited, { code: 0, signal: null });
});

test('Ctrl-C ends a command that has no handler of its own', AS_FIRST, async (t) => {
  // Accepts connections and sends nothing.
  const silent = createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  const address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const sample = 'docs/images/ship.png';
  const child = spawn(command as string, [
    ...args,
    process.execPath,
    PROGRAM,
    'classify',
    '--address',
    address,
    sample,
  ]);
  t.after(() => child.kill('SIGKILL'));
  const [socket] = (await once(silent, 'connection')) as [Socket];
  const [first] = childrenOf(child.pid ?? 0);
  process.kill(first ?? 0, 'SIGINT');
  const [code] = await once(child, 'exit');
  socket.destroy();
  assert.equal(code, 130);
});
