/**
 * From start to exit code: what callers, probes and the system see while the server starts, drains
 * and stops.
 *
 * A test stops children with SIGSTOP if it needs unfinished work, so that nothing depends on the
 * speed of the machine.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { failureOf, PlainClient, SERVICE } from '../support/grpc-client.js';
import { jpeg, plainPng, withComments } from '../support/images.js';
import { framed } from '../support/raw-call.js';
import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  headerBlock,
  RawSocket,
} from '../support/raw-http2.js';
import {
  commandLine,
  eventually,
  freePort,
  isAlive,
  ON_CPU,
  ONE_EACH,
  processState,
  type Scope,
  ServerProcess,
  SIMULATED,
  temporaryFolder,
} from '../support/server.js';

const CALLS = 12;

/** A server with a shared-memory folder of its own, and a client of it. */
async function startWatched(
  scope: Scope,
  flags: readonly string[],
  options: { readonly detached?: boolean } = {},
) {
  const folder = temporaryFolder(scope);
  const server = await ServerProcess.start(
    scope,
    [...flags, '--shared-memory-dir', folder],
    options,
  );
  return { server, folder, client: new PlainClient(scope, server.address) };
}

/** Calls that are admitted and can't finish until `thaw`. */
async function callsInFlight(t: Scope, server: ServerProcess, client: PlainClient, count = CALLS) {
  const thaw = await server.freeze(t, 'inference');
  const colours = Array.from({ length: count }, (_, at) => [at, 2 * at, 255 - at] as const);
  const images = await Promise.all(colours.map((colour) => plainPng(colour)));
  const calls = images.map((image) => client.embed({ image }));
  await server.metricIs('vitserve_permits_in_use', {}, count);
  return { thaw, calls, colours };
}

async function assertNothingLeft(server: ServerProcess, folder: string): Promise<void> {
  await eventually('no child is left', () => server.childrenLeft().length === 0, 5_000);
  assert.deepEqual(readdirSync(folder), []);
}

test('SIGTERM answers every admitted call, leaves nothing behind, and exits with 0', async (t) => {
  const { server, folder, client } = await startWatched(t, [...SIMULATED, '--permits', '64']);
  const watch = client.watch(SERVICE);
  await watch.count(1);
  const { thaw, calls, colours } = await callsInFlight(t, server, client);
  assert.deepEqual(readdirSync(folder), [], 'the slot file shows while serving');

  server.signal('SIGTERM');
  await server.logged('state', ({ state }) => state === 'draining');
  assert.equal(server.exit, null);
  thaw();

  const answers = await Promise.all(calls);
  assert.deepEqual(
    answers.map(({ embedding }) => embedding),
    colours,
  );
  await watch.ended;
  assert.deepEqual(watch.statuses, ['SERVING', 'NOT_SERVING']);
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  assert.equal(server.lines.at(-1)?.state, 'stopped');
  await assertNothingLeft(server, folder);
});

test('Ctrl-C, which also reaches the children, answers every call; exit code 0', async (t) => {
  const { server, folder, client } = await startWatched(t, [...SIMULATED, '--permits', '64'], {
    detached: true,
  });
  const { thaw, calls, colours } = await callsInFlight(t, server, client);
  process.kill(-server.pid, 'SIGINT');
  await server.logged('state', ({ state }) => state === 'draining');
  thaw();
  const answers = await Promise.all(calls);
  assert.deepEqual(
    answers.map(({ embedding }) => embedding),
    colours,
  );
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  assert(!server.lines.some(({ msg }) => msg === 'process lost'));
  await assertNothingLeft(server, folder);
});

test('SIGHUP to the whole process group, as from a closed terminal, costs no child', async (t) => {
  const { server, client } = await startWatched(t, [...SIMULATED, '--permits', '64'], {
    detached: true,
  });
  const { thaw, calls, colours } = await callsInFlight(t, server, client);
  process.kill(-server.pid, 'SIGHUP');
  await server.logged('looked at the model repository again');
  thaw();
  const answers = await Promise.all(calls);
  assert.deepEqual(
    answers.map(({ embedding }) => embedding),
    colours,
  );
  assert.equal(await server.metric('vitserve_process_losses_total'), 0);
  assert.equal((await server.stop()).code, 0);
});

test('during the drain delay calls are still answered, and refused afterwards', async (t) => {
  const { server, client } = await startWatched(t, [
    ...SIMULATED,
    '--permits',
    '64',
    '--drain-delay',
    '1s',
  ]);
  const watch = client.watch('');
  await watch.count(1);
  const image = await plainPng([1, 2, 3]);
  server.signal('SIGTERM');
  await watch.count(2);
  assert.deepEqual(watch.statuses, ['SERVING', 'NOT_SERVING']);

  const during = performance.now();
  const [status, ready, live, { embedding }] = await Promise.all([
    client.check(SERVICE),
    server.get('/readyz'),
    server.get('/livez'),
    client.embed({ image }),
  ]);
  assert(performance.now() - during < 900, 'this machine is too slow to ask within the delay');
  assert.equal(status, 'NOT_SERVING');
  assert.deepEqual([ready.status, ready.text], [503, 'draining\n']);
  assert.equal(live.status, 200);
  assert.deepEqual(embedding, [1, 2, 3]);

  const refused = await eventually('a call is refused', async () =>
    client.embed({ image }).then(
      () => null,
      (failure) => failure,
    ),
  );
  assert.equal(refused.code, 'UNAVAILABLE');
  assert.deepEqual(await server.exited, { code: 0, signal: null });
});

test('after the drain delay a call on an open connection is refused with DRAINING', async (t) => {
  const { server, client } = await startWatched(t, [...SIMULATED, '--permits', '64']);
  // An open call keeps the connection while the server drains.
  const { thaw, calls } = await callsInFlight(t, server, client, 1);
  const stream = client.stream();
  stream.send('before', { image: await plainPng([1, 2, 3]) });
  await server.metricIs('vitserve_permits_in_use', {}, 2);
  server.signal('SIGTERM');
  await server.logged('state', ({ state }) => state === 'draining');
  thaw();
  assert.equal((await Promise.all(calls)).length, 1);
  const failure = await stream.ended;
  assert.deepEqual([failure?.code, failure?.reason], ['UNAVAILABLE', 'DRAINING']);
  assert.equal(
    stream.byId().get('before')?.result,
    'response',
    'what the stream had sent is answered first',
  );
  assert.deepEqual(await server.exited, { code: 0, signal: null });
});

test('an open stream without an image ends with DRAINING and a hint to retry', async (t) => {
  const { server, client } = await startWatched(t, SIMULATED);
  const fresh = client.stream();
  const used = client.stream();
  used.send('one', { image: await plainPng([9, 9, 9]) });
  await used.count(1);
  server.signal('SIGTERM');
  for (const stream of [fresh, used]) {
    const failure = await stream.ended;
    assert.deepEqual([failure?.code, failure?.reason], ['UNAVAILABLE', 'DRAINING']);
    assert(Number(failure?.retryDelayMs) > 0);
  }
  assert.equal(used.messages.length, 1);
  assert.deepEqual(await server.exited, { code: 0, signal: null });
});

test('calls that exceed the drain timeout are aborted, and the exit code is 1', async (t) => {
  const { server, folder, client } = await startWatched(t, [
    ...SIMULATED,
    '--permits',
    '8',
    '--drain-timeout',
    '200ms',
  ]);
  const { calls } = await callsInFlight(t, server, client, 2);
  const failures = Promise.all(calls.map(failureOf));
  server.signal('SIGTERM');
  assert.deepEqual(await server.exited, { code: 1, signal: null });
  assert.deepEqual(
    (await failures).map(({ code }) => code),
    ['UNAVAILABLE', 'UNAVAILABLE'],
  );
  assert(
    server.lines.some(
      ({ msg }) => msg === 'calls that had not ended within drain-timeout were aborted',
    ),
  );
  await assertNothingLeft(server, folder);
});

test('a signal that comes twice at once, as under npm, counts once: it drains', async (t) => {
  const { server, folder, client } = await startWatched(t, [...SIMULATED, '--permits', '8']);
  const { thaw, calls } = await callsInFlight(t, server, client, 2);
  server.signal('SIGINT');
  await server.logged('state', ({ state }) => state === 'draining');
  server.signal('SIGINT');
  thaw();
  await Promise.all(calls);
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  await assertNothingLeft(server, folder);
});

test('calls that exceed the drain timeout get the reason DRAINING; exit code 1', async (t) => {
  const { server, folder, client } = await startWatched(t, [
    ...SIMULATED,
    '--permits',
    '8',
    '--drain-timeout',
    '300ms',
  ]);
  const { calls } = await callsInFlight(t, server, client, 3);
  const failures = Promise.all(calls.map(failureOf));
  const since = performance.now();
  server.signal('SIGTERM');
  const told = await failures;
  assert(
    performance.now() - since < 1_500,
    'they are told when the time is over, not when the processes have ended',
  );
  assert.deepEqual(
    told.map(({ code, reason }) => [code, reason]),
    Array(3).fill(['UNAVAILABLE', 'DRAINING']),
  );
  assert.deepEqual(await server.exited, { code: 1, signal: null });
  await assertNothingLeft(server, folder);
});

test('a second signal ends the server and all children at once, with exit code 1', async (t) => {
  const { server, folder, client } = await startWatched(t, [...SIMULATED, '--permits', '8']);
  const { calls } = await callsInFlight(t, server, client, 2);
  const failures = Promise.all(calls.map(failureOf));
  server.signal('SIGTERM');
  await server.logged('state', ({ state }) => state === 'draining');
  // Sooner it would be the same signal again, as a Ctrl-C under npm comes twice.
  await delay(600);
  const since = performance.now();
  server.signal('SIGTERM');
  assert.deepEqual(await server.exited, { code: 1, signal: null });
  assert(performance.now() - since < 2_000);
  assert.deepEqual(
    (await failures).map(({ code }) => code),
    ['UNAVAILABLE', 'UNAVAILABLE'],
  );
  await assertNothingLeft(server, folder);
});

test('while starting it refuses calls with STARTING; SIGTERM gives exit code 0', async (t) => {
  const folder = temporaryFolder(t);
  const [port, httpPort] = [await freePort(), await freePort()];
  const flags = [...ON_CPU, ...ONE_EACH, '--shared-memory-dir', folder];
  const server = ServerProcess.spawn(t, [
    ...flags,
    '--address',
    `127.0.0.1:${port}`,
    '--http-address',
    `127.0.0.1:${httpPort}`,
  ]);
  // A stopped child keeps the server starting as long as the test needs.
  const stopped = await eventually('a child is stopped while it starts', () => {
    // Not before it runs its own program: until then the front waits for it in the system call that
    // makes it.
    const pid = server.childPids().find((child) => /-main\.js/.test(commandLine(child)));
    if (pid === undefined) return null;
    process.kill(pid, 'SIGSTOP');
    return processState(pid) === 'T' ? pid : null;
  });
  assert.deepEqual(server.children(), [], 'no child was ready before');

  const client = new PlainClient(t, `127.0.0.1:${port}`);
  const image = await plainPng([1, 2, 3]);
  for (const call of [client.classify({ image }), client.embed({ image })]) {
    const failure = await failureOf(call);
    assert.deepEqual([failure.code, failure.reason], ['UNAVAILABLE', 'STARTING']);
    assert(Number(failure.pushbackMs) > 0);
  }
  const stream = client.stream();
  assert.equal((await stream.ended)?.reason, 'STARTING');
  assert.equal((await failureOf(client.getModel())).reason, 'STARTING');
  assert.equal(await client.check(), 'NOT_SERVING');
  const ready = await fetch(`http://127.0.0.1:${httpPort}/readyz`);
  assert.deepEqual([ready.status, await ready.text()], [503, 'starting\n']);
  assert.equal((await fetch(`http://127.0.0.1:${httpPort}/livez`)).status, 200);

  server.childPids();
  const since = performance.now();
  server.signal('SIGTERM');
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  assert(performance.now() - since < 2_000);
  // Stopped so early, it may not have requested yet to die with its parent; when it continues, it
  // must notice that the front is gone and exit.
  if (isAlive(stopped)) process.kill(stopped, 'SIGCONT');
  await assertNothingLeft(server, folder);
});

test('SIGTERM just after the start ends it with exit code 0', async (t) => {
  const folder = temporaryFolder(t);
  const server = ServerProcess.spawn(t, [...SIMULATED, '--shared-memory-dir', folder]);
  await server.logged('state', ({ state }) => state === 'starting');
  server.signal('SIGTERM');
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  await assertNothingLeft(server, folder);
});

test('SIGTERM amid uploads: those begun before the client knew are answered', async (t) => {
  const { server } = await startWatched(t, [...SIMULATED, '--permits', '8']);
  const raw = await RawSocket.http2(t, server.port);
  const message = framed({ image: withComments(await jpeg(1), 200_000) });
  const headers = headerBlock(callHeaders(`/${SERVICE}/Classify`));
  const half = message.length >> 1;
  const send = async (stream: number, bytes: Buffer, isLast = false) => {
    for (let at = 0; at < bytes.length; at += 16_384) {
      const piece = bytes.subarray(at, at + 16_384);
      const flags = isLast && at + piece.length === bytes.length ? END_STREAM : 0;
      await raw.send(frame(FRAME.data, flags, stream, piece));
    }
  };
  const begin = (stream: number) => raw.send(frame(FRAME.headers, END_HEADERS, stream, headers));
  const of = (type: number) => raw.frames().filter((each) => each.type === type);
  const isAnswered = (stream: number) =>
    of(FRAME.headers).some((each) => each.stream === stream && each.flags & END_STREAM);
  const acknowledge = async (nth: number) => {
    const { payload } = await eventually('a PING has come', () => of(FRAME.ping)[nth]);
    await raw.send(frame(FRAME.ping, 1, 0, payload));
  };

  await begin(1);
  await send(1, message.subarray(0, half));
  await server.metricIs('vitserve_uploads_in_flight', {}, 1);
  server.signal('SIGTERM');
  await acknowledge(0);
  await eventually('the notice has come', () => raw.has(FRAME.goAway));
  await begin(3);
  await send(3, message.subarray(0, half));
  await acknowledge(1);
  await eventually('the final GOAWAY has come', () => raw.count(FRAME.goAway) === 2);
  for (const stream of [1, 3]) {
    await send(stream, message.subarray(half), true);
    await eventually(`call ${stream} has ended`, () => isAnswered(stream));
  }
  await raw.closed;
  assert.deepEqual(
    of(FRAME.goAway)
      .map(({ payload }) => payload.readUInt32BE(0))
      .slice(0, 2),
    [2 ** 31 - 1, 3],
  );
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  // Both were admitted, executed and answered: 200 of HTTP, then a message.
  for (const stream of [1, 3])
    assert(of(FRAME.data).some((each) => each.stream === stream && each.payload.length > 5));
});
