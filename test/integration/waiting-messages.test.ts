/**
 * Messages of streams that wait for an upload allowance, and pieces of a body that hold the end of
 * one message and the beginning of the next.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { framed, type RawCall, RawConnection, reasonIn } from '../support/raw-call.js';
import { RpcStand, STREAM_REQUEST } from '../support/rpc-stand.js';
import { eventually } from '../support/server.js';

const message = (requestId: string, bytes: number) =>
  framed({ requestId, request: { image: Buffer.alloc(bytes) } }, STREAM_REQUEST);

async function ended(call: RawCall) {
  const { headers } = await call.ended;
  return { code: headers['grpc-status'], reason: reasonIn(headers) };
}

test('a small message that was complete before its turn does not stop the next', async (t) => {
  const stand = await RpcStand.open(t, { permits: 1 });
  const [one, other] = [
    await RawConnection.open(t, stand.port),
    await RawConnection.open(t, stand.port),
  ];
  const first = one.begin('ClassifyStream');
  const slow = message('slow', 100_000);
  first.write(slow.subarray(0, 50_000));
  await one.ping();
  const second = other.begin('ClassifyStream');
  second.write(message('small', 100));
  await eventually('the small message is answered', () => stand.images.length === 1);
  const large = message('large', 200_000);
  second.write(large.subarray(0, 20_000));
  await other.ping();
  first.write(slow.subarray(50_000));
  await eventually('the first stream is answered', () => stand.images.length === 2);
  second.write(large.subarray(20_000));
  await eventually('the large message is read and answered', () => stand.images.length === 3);
  for (const call of [first, second]) {
    call.finish();
    assert.equal((await ended(call)).code, '0');
  }
  assert.deepEqual(stand.images, ['OK', 'OK', 'OK']);
});

test('a message that begins in the piece that ends another has a time limit too', async (t) => {
  const stand = await RpcStand.open(t, { uploadTimeoutMs: 200 });
  const connection = await RawConnection.open(t, stand.port);
  const whole = message('whole', 100);
  const half = message('half', 100_000).subarray(0, 5_000);
  const call = connection.begin('ClassifyStream');
  call.write(Buffer.concat([whole, half]));
  assert.deepEqual(await ended(call), { code: '4', reason: 'UPLOAD_TIMEOUT' });
  assert.deepEqual(stand.images, ['OK']);
  const split = connection.begin('ClassifyStream');
  split.write(whole.subarray(0, 50));
  await connection.ping();
  split.write(Buffer.concat([whole.subarray(50), half]));
  assert.deepEqual(await ended(split), { code: '4', reason: 'UPLOAD_TIMEOUT' });
  assert.deepEqual(stand.images, ['OK', 'OK']);
});
