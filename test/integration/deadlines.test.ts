/**
 * Deadlines over gRPC, with a simulated process that takes its time: a call that can't meet its
 * deadline is rejected at once, and nothing expired is executed.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { CallFailure, outcomeOf, PlainClient } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import { framed, RawConnection, reasonIn } from '../support/raw-call.js';
import { ONE_EACH, ServerProcess, suiteScope } from '../support/server.js';

const GREEN = [10, 200, 30] as const;

describe('a server that takes 400 ms an image', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let image: Buffer;

  before(async () => {
    server = await ServerProcess.start(scope, [
      '--execution-provider',
      'simulated:1:400',
      '--permits',
      '64',
      ...ONE_EACH,
    ]);
    client = new PlainClient(scope, server.address);
    image = await plainPng(GREEN);
  });

  const done = async () => ({
    decoded: await server.metric('vitserve_decode_duration_seconds_count'),
    executed: await server.metric('vitserve_batch_size_sum'),
  });

  test('knows that, and shows it', async () => {
    const cost = await server.metric('vitserve_batch_cost_seconds', { batch_size: '1' });
    assert(cost >= 0.4 && cost < 2, `${cost} s`);
  });

  test('rejects a call that has 350 ms at once, without a decode, and with advice', async (t) => {
    // Sent by hand, so that only the server watches the deadline.
    const connection = await RawConnection.open(t, server.port);
    await client.classify({ image });
    const before = await done();
    const dropped = await server.metric('vitserve_dropped_images_total', { cause: 'unreachable' });
    const call = connection.begin('Classify', { grpcTimeout: '350m' });
    call.write(framed({ image }));
    call.finish();
    const { headers, afterMs } = await call.ended;
    assert.deepEqual([headers['grpc-status'], reasonIn(headers)], ['8', 'DEADLINE_UNREACHABLE']);
    assert.match(String(headers['grpc-message']), /can't(?: |%20)be(?: |%20)met/);
    assert(Number(headers['grpc-retry-pushback-ms']) >= 10);
    assert(afterMs < 350, `answered after ${afterMs} ms`);
    assert.deepEqual(await done(), before);
    assert.equal(
      await server.metric('vitserve_dropped_images_total', { cause: 'unreachable' }),
      dropped + 1,
    );
    assert.equal(await server.metric('vitserve_permits_in_use'), 0);
  });

  test('rejects it before its image has arrived', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    await client.classify({ image });
    const call = connection.begin('Classify', { grpcTimeout: '350m' });
    const { headers, afterMs } = await call.ended;
    assert.equal(reasonIn(headers), 'DEADLINE_UNREACHABLE');
    assert(afterMs < 350, `answered after ${afterMs} ms`);
  });

  test('answers a call that has the time', async () => {
    assert.deepEqual((await client.embed({ image }, { timeoutMs: 20_000 })).embedding, GREEN);
  });

  test('rejects one image of a stream in the same way, and goes on with the stream', async () => {
    await client.classify({ image });
    const stream = client.stream({ timeoutMs: 350 });
    stream.send('late', { image });
    const ending = await Promise.race([stream.ended, stream.count(1)]);
    assert(Array.isArray(ending), 'an answer before the end');
    assert.equal(stream.messages[0]?.result, 'status');
    assert.equal(stream.messages[0]?.status?.code, 8);
    stream.cancel();
  });
});

describe('at three times its capacity', () => {
  const scope = suiteScope();
  const EXECUTE_MS = 100;
  const DEADLINE_MS = 3_000;
  const POSSIBLE = DEADLINE_MS / EXECUTE_MS;

  test('calls with deadlines are answered or refused at once, and nothing expired is executed', async () => {
    const flags = [
      '--execution-provider',
      `simulated:1:${EXECUTE_MS}`,
      '--permits',
      '200',
      ...ONE_EACH,
    ];
    const server = await ServerProcess.start(scope, flags);
    const client = new PlainClient(scope, server.address);
    const image = await plainPng(GREEN);
    const totals = { answered: 0, refused: 0, expired: 0 };
    const executedBefore = await server.metric('vitserve_batch_size_sum');
    for (let burst = 0; burst < 2; burst++) {
      const startedAt = performance.now();
      const refusedAfter: number[] = [];
      await Promise.all(
        Array.from({ length: 3 * POSSIBLE }, async () => {
          const outcome = await outcomeOf(client.classify({ image }, { timeoutMs: DEADLINE_MS }));
          if (!(outcome instanceof CallFailure)) totals.answered++;
          else if (outcome.reason === 'DEADLINE_UNREACHABLE') {
            totals.refused++;
            refusedAfter.push(performance.now() - startedAt);
          } else {
            assert.equal(outcome.code, 'DEADLINE_EXCEEDED');
            totals.expired++;
          }
        }),
      );
      // Most of them as soon as they were sent, and none as late as an answer would have been.
      refusedAfter.sort((one, other) => one - other);
      const median = refusedAfter[refusedAfter.length >> 1] ?? 0;
      assert(median < DEADLINE_MS / 2, `half of the refusals took ${median} ms`);
      await server.metricIs('vitserve_permits_in_use', {}, 0);
    }
    const text = JSON.stringify(totals);
    assert(totals.refused >= 2 * POSSIBLE, text);
    assert(totals.answered >= POSSIBLE, text);
    const inVain =
      (await server.metric('vitserve_batch_size_sum')) - executedBefore - totals.answered;
    // An image that expires during its execution, and an answer that crosses the end of its call's
    // deadline.
    assert(inVain <= 4, `${inVain} executed in vain, ${text}`);
  });
});
