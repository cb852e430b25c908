/**
 * Which calls are admitted, which are refused, and what a refusal costs the server and tells the
 * caller.
 *
 * The inference process is stopped (SIGSTOP) if permits must stay taken, so that counts are exact
 * on any machine.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { CallFailure, failureOf, outcomeOf, PlainClient } from '../support/grpc-client.js';
import { jpeg, plainPng } from '../support/images.js';
import { underLoad } from '../support/load.js';
import { countingProxy, framed, RawConnection, reasonIn } from '../support/raw-call.js';
import { eventually, type Scope, ServerProcess, SIMULATED, suiteScope } from '../support/server.js';

const PERMITS = 4;
const UPLOAD_TIMEOUT_MS = 500;
const GREEN = [10, 200, 30] as const;

describe('a server with four permits', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let image: Buffer;

  before(async () => {
    const flags = ['--permits', String(PERMITS), '--upload-timeout', `${UPLOAD_TIMEOUT_MS}ms`];
    server = await ServerProcess.start(scope, [...SIMULATED, ...flags]);
    client = new PlainClient(scope, server.address);
    image = await plainPng(GREEN);
  });

  /**
   * Takes all permits. Resolves with a function that gives them back once all calls are answered.
   */
  const takeAllPermits = async (t: Scope) => {
    await server.metricIs('vitserve_permits_in_use', {}, 0);
    const thaw = await server.freeze(t, 'inference');
    const calls = Array.from({ length: PERMITS }, () => client.embed({ image }));
    await server.metricIs('vitserve_permits_in_use', {}, PERMITS);
    return async () => {
      thaw();
      for (const { embedding } of await Promise.all(calls)) assert.deepEqual(embedding, GREEN);
      await server.metricIs('vitserve_permits_in_use', {}, 0);
    };
  };

  test('of N + k simultaneous calls exactly k are OVERLOADED, with a retry time', async (t) => {
    const k = 6;
    const before = await server.metric('vitserve_requests_total', { reason: 'OVERLOADED' });
    const thaw = await server.freeze(t, 'inference');
    const failures: CallFailure[] = [];
    const calls = Array.from({ length: PERMITS + k }, async () => {
      const outcome = await outcomeOf(client.classify({ image }));
      if (outcome instanceof CallFailure) failures.push(outcome);
      return outcome;
    });
    await eventually(`${k} calls are refused while the others wait`, () => failures.length === k);
    assert.equal(await server.metric('vitserve_permits_in_use'), PERMITS);
    thaw();
    await Promise.all(calls);
    assert.equal(failures.length, k);
    for (const { code, reason, domain, retryDelayMs, pushbackMs } of failures) {
      assert.deepEqual([code, reason, domain], ['RESOURCE_EXHAUSTED', 'OVERLOADED', 'vitserve.v1']);
      assert(
        Number.isInteger(pushbackMs) && Number(pushbackMs) >= 10 && Number(pushbackMs) <= 5_000,
        `${pushbackMs}`,
      );
      assert.equal(retryDelayMs, pushbackMs);
    }
    assert.equal(
      await server.metric('vitserve_requests_total', { reason: 'OVERLOADED' }),
      before + k,
    );
    await server.metricIs('vitserve_permits_in_use', {}, 0);
    assert.deepEqual((await client.embed({ image })).embedding, GREEN);
  });

  test('a refused image of 16 MB is reset: the server takes less than 1 MB of it', async (t) => {
    const giveBack = await takeAllPermits(t);
    const proxy = await countingProxy(t, server.port);
    // By hand, because this client goes on sending where a gRPC library would stop by itself.
    const connection = await RawConnection.open(t, proxy.port);
    const message = framed({ image: Buffer.alloc(16_000_000, 0xd8) });
    const upload = connection.begin('Classify');
    await upload.writeAll(message);
    const { headers } = await upload.ended;
    assert.equal(headers['grpc-status'], '8');
    assert.equal(reasonIn(headers), 'OVERLOADED');
    assert(Number(headers['grpc-retry-pushback-ms']) > 0);
    t.diagnostic(`${proxy.bytesToServer()} bytes reached the server`);
    assert(
      proxy.bytesToServer() < 1_000_000,
      `${proxy.bytesToServer()} bytes reached the server: does src/server/workarounds/base-call.ts still find the stream?`,
    );
    await giveBack();
    const after = connection.begin('Classify');
    after.write(framed({ image }));
    after.finish();
    assert.equal(
      (await after.ended).headers['grpc-status'],
      '0',
      'the connection is of use afterwards',
    );
  });

  test('a gRPC library gets the refusal of a large image, and its connection stays', async (t) => {
    const giveBack = await takeAllPermits(t);
    for (let attempt = 0; attempt < 5; attempt++) {
      const failure = await failureOf(client.classify({ image: Buffer.alloc(8_000_000, 0xd8) }));
      assert.deepEqual([failure.code, failure.reason], ['RESOURCE_EXHAUSTED', 'OVERLOADED']);
      assert(Number(failure.pushbackMs) > 0);
    }
    await giveBack();
    assert.deepEqual((await client.embed({ image })).embedding, GREEN);
  });

  test('an upload that stops half-way takes no permit and ends with UPLOAD_TIMEOUT', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const slow = connection.begin('Classify');
    const message = framed({ image: await jpeg(1) });
    slow.write(message.subarray(0, message.length / 2));
    await server.metricIs('vitserve_uploads_in_flight', {}, 1);
    assert.equal(await server.metric('vitserve_permits_in_use'), 0);
    const { headers, afterMs } = await slow.ended;
    assert.equal(headers['grpc-status'], '4');
    assert.equal(reasonIn(headers), 'UPLOAD_TIMEOUT');
    assert(
      afterMs >= UPLOAD_TIMEOUT_MS - 5 && afterMs < UPLOAD_TIMEOUT_MS + 1_000,
      `after ${afterMs} ms`,
    );
    await server.metricIs('vitserve_uploads_in_flight', {}, 0);
    await server.metricIs(
      'vitserve_requests_total',
      { code: 'DEADLINE_EXCEEDED', reason: 'UPLOAD_TIMEOUT' },
      1,
    );
    assert.equal(connection.closed, false);
  });

  test('slow uploads take each other’s places but no permit', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const slow = Array.from({ length: PERMITS }, () => connection.begin('Classify'));
    for (const call of slow) call.write(framed({ image }).subarray(0, 20));
    await server.metricIs('vitserve_uploads_in_flight', {}, PERMITS);
    const { reason, message } = await failureOf(client.classify({ image }));
    assert.equal(reason, 'OVERLOADED');
    assert.match(message, /too many uploads are open/);
    for (const { ended } of slow) assert.equal(reasonIn((await ended).headers), 'UPLOAD_TIMEOUT');
    assert.deepEqual((await client.embed({ image })).embedding, GREEN);
  });

  test('a cancelled or lost upload gives its place back and counts as cancelled', async (t) => {
    const cancelled = { method: 'Classify', code: 'CANCELLED', reason: 'CANCELLED' };
    const before = await server.metric('vitserve_requests_total', cancelled);
    for (const giveUp of ['cancel', 'disconnect'] as const) {
      const proxy = await countingProxy(t, server.port);
      const connection = await RawConnection.open(t, proxy.port);
      const slow = connection.begin('Classify');
      slow.write(framed({ image }).subarray(0, 20));
      await server.metricIs('vitserve_uploads_in_flight', {}, 1);
      const since = performance.now();
      if (giveUp === 'cancel') slow.cancel();
      else proxy.cut();
      await server.metricIs('vitserve_uploads_in_flight', {}, 0);
      assert(performance.now() - since < UPLOAD_TIMEOUT_MS - 100, 'only the timeout ended it');
    }
    await server.metricIs('vitserve_requests_total', cancelled, before + 2);
  });

  test('a call without a message is refused and keeps no permit', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    for (let attempt = 0; attempt <= PERMITS; attempt++) {
      const empty = connection.begin('Classify');
      empty.finish();
      assert.notEqual((await empty.ended).headers['grpc-status'], '0');
    }
    await server.metricIs('vitserve_permits_in_use', {}, 0);
    await server.metricIs('vitserve_uploads_in_flight', {}, 0);
    assert.deepEqual((await client.embed({ image })).embedding, GREEN);
  });

  test('health, models and metrics are answered while every permit is taken', async (t) => {
    const giveBack = await takeAllPermits(t);
    assert.equal(await client.check(), 'SERVING');
    assert.equal((await client.getModel()).classCount, 10);
    assert.equal((await server.get('/readyz')).status, 200);
    await giveBack();
  });

  test('streams are paced and never refused, and unary calls get through meanwhile', async (t) => {
    const before = await server.metric('vitserve_requests_total', { reason: 'OVERLOADED' });
    const thaw = await server.freeze(t, 'inference');
    const streams = [client.stream(), client.stream()];
    const images = 30;
    for (const stream of streams) {
      for (let id = 0; id < images; id++) stream.send(String(id), { image });
      stream.finish();
    }
    // Streams together may hold half of the permits; the other half stays for unary calls.
    await server.metricIs('vitserve_permits_in_use', {}, PERMITS / 2);
    const unary = Array.from({ length: PERMITS / 2 }, () => client.embed({ image }));
    await server.metricIs('vitserve_permits_in_use', {}, PERMITS);
    assert.equal((await failureOf(client.embed({ image }))).reason, 'OVERLOADED');
    thaw();
    for (const { embedding } of await Promise.all(unary)) assert.deepEqual(embedding, GREEN);
    const more = await underLoad(2, 40, () => client.embed({ image }));
    assert.equal(more.length, 40);
    for (const stream of streams) {
      assert.equal(await stream.ended, null);
      assert.equal(stream.byId().size, images);
      assert(stream.messages.every(({ result }) => result === 'response'));
    }
    assert.equal(
      await server.metric('vitserve_requests_total', { reason: 'OVERLOADED' }),
      before + 1,
    );
    assert.equal(await server.metric('vitserve_stream_images_total', { code: 'OK' }), 2 * images);
    await server.metricIs('vitserve_permits_in_use', {}, 0);
  });

  test('a cancelled stream gives its permits back', async (t) => {
    const thaw = await server.freeze(t, 'inference');
    const stream = client.stream();
    for (let id = 0; id < 10; id++) stream.send(String(id), { image });
    await server.metricIs('vitserve_permits_in_use', {}, PERMITS / 2);
    stream.cancel();
    assert.equal((await stream.ended)?.code, 'CANCELLED');
    thaw();
    await server.metricIs('vitserve_permits_in_use', {}, 0);
    await server.metricIs('vitserve_queue_length', {}, 0);
  });

  test('a thousand calls that succeed are a thousand OK, and nothing else', async () => {
    const ok = { method: 'Embed', code: 'OK' };
    const count = async () => ({
      ok: await server.metric('vitserve_requests_total', ok),
      others:
        (await server.metric('vitserve_requests_total')) -
        (await server.metric('vitserve_requests_total', { code: 'OK' })),
      dropped: await server.metric('vitserve_dropped_images_total'),
    });
    const before = await count();
    await underLoad(PERMITS, 1_000, () => client.embed({ image }));
    await server.metricIs('vitserve_requests_total', ok, before.ok + 1_000);
    assert.deepEqual(await count(), { ...before, ok: before.ok + 1_000 });
  });
});
