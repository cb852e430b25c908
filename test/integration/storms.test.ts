/**
 * Clients that retry at once whatever they are told, clients that don't, and the uploads of
 * rejected calls.
 *
 * Processes are stopped (SIGSTOP) if permits must stay taken, or if a whole upload must arrive
 * before it is read.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { CallFailure, outcomeOf, PlainClient } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import { continuousLoad } from '../support/load.js';
import { countingProxy, framed, RawConnection, reasonIn } from '../support/raw-call.js';
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
  eventually,
  ONE_EACH,
  type Scope,
  ServerProcess,
  SIMULATED,
  suiteScope,
} from '../support/server.js';

const PERMITS = 4;
const CLASSIFY = '/vitserve.v1.ClassificationService/Classify';

let image: Buffer;
before(async () => {
  image = await plainPng([10, 200, 30]);
});

const overloaded = (outcome: unknown): outcome is CallFailure =>
  outcome instanceof CallFailure && outcome.reason === 'OVERLOADED';

/** Takes all permits. Resolves with a function that gives them back. */
async function takeAllPermits(t: Scope, server: ServerProcess): Promise<() => Promise<void>> {
  const client = new PlainClient(t, server.address);
  await server.metricIs('vitserve_permits_in_use', {}, 0);
  const thaw = await server.freeze(t, 'inference');
  const calls = Array.from({ length: PERMITS }, () => client.classify({ image }));
  await server.metricIs('vitserve_permits_in_use', {}, PERMITS);
  return async () => {
    thaw();
    await Promise.all(calls);
  };
}

describe('clients that retry at once', () => {
  test('are answered as fast as the model allows, with few rejections an answer', async (t) => {
    const costs = [
      '--execution-provider',
      'simulated:1:25,4:100',
      ...ONE_EACH,
      '--permits',
      String(PERMITS),
    ];
    const server = await ServerProcess.start(t, costs);
    const clients = Array.from({ length: 32 }, () => new PlainClient(t, server.address));
    let [answered, rejected] = [0, 0];
    const load = continuousLoad(32, async (index) => {
      const outcome = await outcomeOf(
        (clients[index % clients.length] as PlainClient).classify({ image }),
      );
      if (overloaded(outcome)) rejected++;
      else if (outcome instanceof CallFailure) throw outcome;
      else answered++;
    });
    await eventually('150 images are answered', () => answered >= 150);
    await load.stop();
    t.diagnostic(`${rejected} rejections for ${answered} answers`);
    assert.ok(rejected <= 10 * answered, `${rejected} rejections for ${answered} answers`);
    assert.ok((await server.metric('vitserve_held_rejections_total')) > 0);
    assert.equal(await server.metric('vitserve_held_rejections'), 0);
  });

  test('are still rejected when the server stops, and delay no stop', async (t) => {
    const server = await ServerProcess.start(t, [
      ...SIMULATED,
      '--permits',
      String(PERMITS),
      '--drain-delay',
      '0ms',
    ]);
    const giveBack = await takeAllPermits(t, server);
    const client = new PlainClient(t, server.address);
    const seen: string[] = [];
    const load = continuousLoad(64, async () => {
      const outcome = await outcomeOf(client.classify({ image }));
      if (outcome instanceof CallFailure) seen.push(outcome.reason || outcome.code);
      if (seen.at(-1) === 'DRAINING' || seen.at(-1) === 'UNAVAILABLE')
        await new Promise((resolve) => setTimeout(resolve, 10));
    });
    await eventually(
      'some are held',
      async () => (await server.metric('vitserve_held_rejections')) > 30,
    );
    const before = seen.filter((reason) => reason === 'OVERLOADED').length;
    server.signal('SIGTERM');
    await eventually(
      'they are told',
      () => seen.filter((reason) => reason === 'OVERLOADED').length > before + 30,
    );
    await giveBack();
    assert.deepEqual(await server.exited, { code: 0, signal: null });
    await load.stop();
  });
});

describe('a full server', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  before(async () => {
    server = await ServerProcess.start(scope, [...SIMULATED, '--permits', String(PERMITS)]);
  });

  test('holds no rejection of clients that wait as long as they are told', async (t) => {
    const giveBack = await takeAllPermits(t, server);
    const before = await server.metric('vitserve_held_rejections_total');
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const client = new PlainClient(t, server.address);
        for (let call = 0; call < 3; call++) {
          const outcome = await outcomeOf(client.classify({ image }));
          assert.ok(overloaded(outcome));
          await new Promise((resolve) => setTimeout(resolve, Number(outcome.pushbackMs)));
        }
      }),
    );
    assert.equal(await server.metric('vitserve_held_rejections_total'), before);
    await giveBack();
  });

  test('forgets a held call when it is cancelled, and counts it as cancelled', async (t) => {
    const giveBack = await takeAllPermits(t, server);
    const cancelled = { method: 'Classify', code: 'CANCELLED', reason: 'CANCELLED' };
    const before = await server.metric('vitserve_requests_total', cancelled);
    const connection = await RawConnection.open(t, server.port);
    const calls = Array.from({ length: 200 }, () => connection.begin('Classify'));
    await eventually(
      'some are held',
      async () => (await server.metric('vitserve_held_rejections')) > 0,
    );
    for (const call of calls) call.cancel();
    await server.metricIs('vitserve_held_rejections', {}, 0);
    assert.ok((await server.metric('vitserve_requests_total', cancelled)) > before);
    await giveBack();
  });

  test('lets the upload of a photo that it rejects end by itself', async (t) => {
    const giveBack = await takeAllPermits(t, server);
    const raw = await RawSocket.http2(t, server.port);
    await eventually('the window of the connection is wide', () => raw.has(FRAME.windowUpdate));
    await raw.send(frame(FRAME.settings, 1, 0));
    // All of it arrives before the server sees the first byte.
    server.signal('SIGSTOP');
    const body = framed({ image: Buffer.alloc(200_000, 0xd8) });
    const parts = [frame(FRAME.headers, END_HEADERS, 1, headerBlock(callHeaders(CLASSIFY)))];
    for (let at = 0; at < body.length; at += 16_384) {
      const isLast = at + 16_384 >= body.length;
      parts.push(frame(FRAME.data, isLast ? END_STREAM : 0, 1, body.subarray(at, at + 16_384)));
    }
    const sent = raw.send(...parts, frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    server.signal('SIGCONT');
    await sent;
    await eventually('the call has its status', () => raw.has(FRAME.headers));
    // A second call on the same connection ends after everything that the end of the first has
    // caused.
    await raw.send(
      frame(FRAME.headers, END_HEADERS | END_STREAM, 3, headerBlock(callHeaders(CLASSIFY))),
    );
    await eventually('a later call has its status', () => raw.count(FRAME.headers) === 2);
    assert.equal(raw.count(FRAME.resetStream), 0, 'the upload was reset');
    await giveBack();
  });

  test('takes no more than a window of a large image that it rejects, and resets it', async (t) => {
    const giveBack = await takeAllPermits(t, server);
    const proxy = await countingProxy(t, server.port);
    const connection = await RawConnection.open(t, proxy.port);
    const upload = connection.begin('Classify');
    // Resolves when the call is closed, because the server gives it no window for the rest.
    await upload.writeAll(framed({ image: Buffer.alloc(16_000_000, 0xd8) }));
    assert.equal(reasonIn((await upload.ended).headers), 'OVERLOADED');
    t.diagnostic(`${proxy.bytesToServer()} bytes reached the server`);
    assert.ok(proxy.bytesToServer() < 400_000, `${proxy.bytesToServer()} bytes reached the server`);
    await giveBack();
  });
});
