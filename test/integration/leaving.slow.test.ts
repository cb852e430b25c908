/**
 * Calls whose deadline passes or which are cancelled: answered in time, and work that had not begun
 * is not done.
 *
 * Deadlines are sent by hand, so that the server keeps them and not the client.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { failureOf, PlainClient } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import { framed, RawConnection } from '../support/raw-call.js';
import { type Role, ServerProcess, SIMULATED, suiteScope } from '../support/server.js';

const CALLS = 6;
const GREEN = [10, 200, 30] as const;

describe('a call that ends early', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let image: Buffer;

  before(async () => {
    server = await ServerProcess.start(scope, [...SIMULATED, '--permits', '64']);
    client = new PlainClient(scope, server.address);
    image = await plainPng(GREEN);
  });

  /** Counts of everything done so far. */
  const done = async () => ({
    decoded: await server.metric('vitserve_decode_duration_seconds_count'),
    executions: await server.metric('vitserve_inference_duration_seconds_count'),
    images: await server.metric('vitserve_batch_size_sum'),
    answered: await server.metric('vitserve_queue_duration_seconds_count'),
  });

  const dropped = (stage: string, cause: string) =>
    server.metric('vitserve_dropped_images_total', { stage, cause });

  const atRest = async () => {
    await server.metricIs('vitserve_permits_in_use', {}, 0);
    await server.metricIs('vitserve_queue_length', {}, 0);
    await server.metricIs('vitserve_uploads_in_flight', {}, 0);
  };

  /**
   * `decode`: the decoder is stopped, so nothing gets beyond it; `batch`: the inference process is.
   */
  const stages = [
    { stage: 'decode', role: 'decoder', decoded: 0 },
    { stage: 'batch', role: 'inference', decoded: CALLS },
  ] as const satisfies { stage: string; role: Role; decoded: number }[];

  for (const { stage, role, decoded } of stages) {
    test(`whose deadline passes before the ${stage} is answered, and not executed`, async (t) => {
      const before = await done();
      const droppedBefore = await dropped(stage, 'expired');
      const endedBefore = await server.metric('vitserve_requests_total', {
        code: 'DEADLINE_EXCEEDED',
      });
      const thaw = await server.freeze(t, role);
      const connection = await RawConnection.open(t, server.port);
      const deadlineMs = 300;
      const calls = Array.from({ length: CALLS }, () => {
        const call = connection.begin('Classify', { grpcTimeout: `${deadlineMs}m` });
        call.write(framed({ image }));
        call.finish();
        return call;
      });
      await server.metricIs('vitserve_permits_in_use', {}, CALLS);
      if (decoded > 0)
        await server.metricIs(
          'vitserve_decode_duration_seconds_count',
          {},
          before.decoded + decoded,
        );
      for (const { headers, afterMs } of await Promise.all(calls.map(({ ended }) => ended))) {
        assert.equal(headers['grpc-status'], '4');
        assert(
          afterMs >= deadlineMs - 5 && afterMs < deadlineMs + 300,
          `answered after ${afterMs} ms`,
        );
      }
      await server.metricIs('vitserve_queue_length', { stage }, 0);
      thaw();
      await atRest();
      assert.equal(await dropped(stage, 'expired'), droppedBefore + CALLS);
      assert.deepEqual(await done(), { ...before, decoded: before.decoded + decoded });
      assert.equal(
        await server.metric('vitserve_requests_total', { code: 'DEADLINE_EXCEEDED' }),
        endedBefore + CALLS,
      );
    });

    test(`that is cancelled before the ${stage} costs no more, and is counted once`, async (t) => {
      const before = await done();
      const droppedBefore = await dropped(stage, 'cancelled');
      const cancelledBefore = await server.metric('vitserve_requests_total', { code: 'CANCELLED' });
      const thaw = await server.freeze(t, role);
      const leaving = new AbortController();
      const failures = Array.from({ length: CALLS }, () =>
        failureOf(client.embed({ image }, { signal: leaving.signal })),
      );
      const staying = client.embed({ image });
      await server.metricIs('vitserve_permits_in_use', {}, CALLS + 1);
      if (decoded > 0)
        await server.metricIs(
          'vitserve_decode_duration_seconds_count',
          {},
          before.decoded + decoded + 1,
        );
      leaving.abort();
      for (const { code } of await Promise.all(failures)) assert.equal(code, 'CANCELLED');
      await server.metricIs(
        'vitserve_requests_total',
        { code: 'CANCELLED' },
        cancelledBefore + CALLS,
      );
      // Two had been handed over already; the others have left the queue, where only the remaining
      // call is left.
      await server.metricIs('vitserve_queue_length', { stage }, 1);
      thaw();
      assert.deepEqual((await staying).embedding, GREEN);
      await atRest();
      assert.equal(await dropped(stage, 'cancelled'), droppedBefore + CALLS);
      assert.deepEqual(await done(), {
        decoded: before.decoded + Math.max(decoded, 0) + 1,
        executions: before.executions + 1,
        images: before.images + 1,
        answered: before.answered + 1,
      });
    });
  }

  test('with a deadline of 24 days is served, and one with a later deadline, too', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    for (const grpcTimeout of ['576H', '720H', '99999999H']) {
      const call = connection.begin('Classify', { grpcTimeout });
      call.write(framed({ image }));
      call.finish();
      assert.equal((await call.ended).headers['grpc-status'], '0', grpcTimeout);
    }
  });
});
