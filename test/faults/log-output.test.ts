/**
 * A server whose log goes nowhere: its reader stalls or has gone, or its disk is full. It serves,
 * says so in its metrics, and still stops gracefully.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { PlainClient } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import {
  eventually,
  freePort,
  PROGRAM,
  ServerProcess,
  SIMULATED,
  sumOfSeries,
  temporaryFolder,
} from '../support/server.js';

const DROPPED = 'vitserve_log_lines_dropped_total';
/** As many lines as may wait, of 400 bytes or more each. */
const MANY_CALLS = 4_000;

interface Unlogged {
  readonly child: ChildProcess;
  readonly client: PlainClient;
  get(path: string): Promise<string>;
  stop(): Promise<number | null>;
}

/** A server whose standard output belongs to the test. Ready for calls. */
async function startUnlogged(
  t: TestContext,
  stdout: Socket | number | 'pipe',
  flags: readonly string[] = [],
): Promise<Unlogged> {
  const [port, httpPort] = [await freePort(), await freePort()];
  const addresses = ['--address', `127.0.0.1:${port}`, '--http-address', `127.0.0.1:${httpPort}`];
  const args = [
    PROGRAM,
    'serve',
    ...addresses,
    ...SIMULATED,
    '--log-level',
    'debug',
    '--permits',
    '64',
    ...flags,
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', stdout, 'ignore'] });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  t.after(() => child.exitCode ?? child.kill('SIGKILL'));
  const get = async (path: string) =>
    (
      await fetch(`http://127.0.0.1:${httpPort}${path}`, { headers: { connection: 'close' } })
    ).text();
  await eventually('the server is ready', async () => {
    assert.equal(child.exitCode, null, 'the server ended');
    return (await get('/readyz').catch(() => '')) === 'ready\n';
  });
  const stop = async () => {
    child.kill('SIGTERM');
    return (await exited)[0];
  };
  return { child, client: new PlainClient(t, `127.0.0.1:${port}`), get, stop };
}

/** Each call has a line at the debug level; those for health cost least. */
async function makeCalls({ client }: Unlogged, count: number): Promise<void> {
  const image = await plainPng([1, 2, 3]);
  const metadata = { 'x-request-id': 'r'.repeat(128) };
  let left = count;
  const caller = async () => {
    while (left-- > 0)
      await (left % 10 === 0
        ? client.embed({ image }, { metadata })
        : client.check('', { metadata }));
  };
  await Promise.all(Array.from({ length: 32 }, caller));
}

const droppedOf = async (server: Unlogged, cause: string) =>
  sumOfSeries(await server.get('/metrics'), DROPPED, { cause });

test('a log without a reader delays no call; read again, it says what is missing', async (t) => {
  const server = await startUnlogged(t, 'pipe');
  await makeCalls(server, MANY_CALLS);
  assert.equal(await server.get('/livez'), 'alive\n');
  const dropped = await eventually('lines are dropped', async () => {
    const count = await droppedOf(server, 'unread');
    if (count === 0) await makeCalls(server, 100);
    return count > 0 && count;
  });

  const lines: Record<string, unknown>[] = [];
  assert(server.child.stdout !== null);
  createInterface({ input: server.child.stdout }).on('line', (line) =>
    lines.push(JSON.parse(line)),
  );
  const notice = await eventually('the log tells of it', () =>
    lines.find(({ msg }) => msg === 'log lines were dropped'),
  );
  assert.deepEqual(
    [notice.level, notice.cause, (notice.lines as number) >= dropped],
    ['warn', 'unread', true],
  );
  assert.equal(await server.stop(), 0);
  await eventually('the last line', () => lines.at(-1)?.state === 'stopped');
});

/**
 * Both ends of a connection, as the journal of systemd gives one to a service. The other end is not
 * read.
 */
async function unreadSocket(t: TestContext): Promise<Socket> {
  const path = join(temporaryFolder(t), 'socket');
  const listener = createServer({ pauseOnConnect: true }).listen(path);
  await once(listener, 'listening');
  const socket = connect(path);
  const [[other]] = (await Promise.all([
    once(listener, 'connection'),
    once(socket, 'connect'),
  ])) as [[Socket], unknown];
  t.after(() => {
    for (const end of [socket, other]) end.destroy();
    listener.close();
  });
  return socket;
}

for (const kind of ['pipe', 'socket']) {
  test(`a log without a reader (a ${kind}) does not delay the exit`, async (t) => {
    const server = await startUnlogged(t, kind === 'pipe' ? 'pipe' : await unreadSocket(t));
    // More than the system buffers, and what Node reads by itself.
    await makeCalls(server, 1_500);
    assert.equal(await server.get('/livez'), 'alive\n');
    assert.equal(await server.stop(), 0);
  });
}

for (const format of ['json', 'pretty']) {
  test(`without a reader of its log (${format}) a server serves on`, async (t) => {
    const server = await startUnlogged(t, 'pipe', ['--log-format', format]);
    server.child.stdout?.destroy();
    await makeCalls(server, 200);
    assert.equal(await server.get('/livez'), 'alive\n');
    assert.equal(await server.stop(), 0);
  });
}

test('with a log on a full disk a server starts, serves and stops', async (t) => {
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const server = await startUnlogged(t, full);
  await makeCalls(server, MANY_CALLS);
  await eventually('lines are dropped', async () => (await droppedOf(server, 'no_space')) > 0);
  assert.equal(await server.stop(), 0);
});

test('a start-up failure is reported on standard error if its log can’t be written', async (t) => {
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const args = [
    PROGRAM,
    'serve',
    '--address',
    '192.0.2.1:1',
    '--http-address',
    '127.0.0.1:0',
    ...SIMULATED,
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', full, 'pipe'] });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  assert.deepEqual(await once(child, 'close'), [1, null]);
  assert.match(
    stderr,
    /^vitserve: address: can't listen on 192\.0\.2\.1:1 \(.*EADDRNOTAVAIL.*\): no interface/,
  );
});

test('an uncaught error is a line of the log, and exit code 1', async (t) => {
  const code =
    "process.argv[2] === 'serve' && process.on('SIGUSR2', () => { throw new Error('boom'); })";
  const server = await ServerProcess.start(t, SIMULATED, {
    environment: { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(code)}` },
  });
  server.signal('SIGUSR2');
  assert.deepEqual(await server.exited, { code: 1, signal: null });
  const { level, err } = await server.logged('unexpected error: the server ends');
  assert.deepEqual(
    [level, (err as { message: string }).message, server.stderr],
    ['fatal', 'boom', ''],
  );
  await eventually('no child is left', () => server.childrenLeft().length === 0);
});
