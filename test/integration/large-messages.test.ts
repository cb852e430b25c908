/**
 * Messages of a stream beyond the limit: each is answered by its request_id, and the stream goes
 * on. They are made by hand, in every order of fields, whole and compressed, since no library sends
 * them all.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { MOST_ID_BYTES, SKIPPED_TIMES } from '#vitserve/server/transport/stream-messages.js';
import {
  messageType,
  PlainClient,
  readDetails,
  type StreamResponse,
} from '../support/grpc-client.js';
import { framed, messagesIn, type RawCall, RawConnection, reasonIn } from '../support/raw-call.js';
import { ANSWER, RpcStand, STREAM_REQUEST, STREAM_RESPONSE } from '../support/rpc-stand.js';
import { eventually } from '../support/server.js';

const MAX_IMAGE_BYTES = 100_000;
const MAX_MESSAGE_BYTES = MAX_IMAGE_BYTES + 64 * 1024;
const OK = String(status.OK);

/** Bytes that don't compress. */
function noise(bytes: number): Buffer {
  let state = 1;
  return Buffer.from(
    Uint8Array.from({ length: bytes }, () => {
      state = (state * 48_271) % 2_147_483_647;
      return state >> 8;
    }),
  );
}

const serialize = (message: object) => messageType(STREAM_REQUEST).serialize(message);
/** A message whose image comes before its id. */
const idLast = (requestId: string, image: Buffer) =>
  Buffer.concat([serialize({ request: { image } }), serialize({ requestId })]);
const idFirst = (requestId: string, image: Buffer) => serialize({ requestId, request: { image } });
const inFrame = (content: Buffer, flag = 0) => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag, 0);
  prefix.writeUInt32BE(content.length, 1);
  return Buffer.concat([prefix, content]);
};
const small = (requestId: string) =>
  framed({ requestId, request: { image: Buffer.from('small') } }, STREAM_REQUEST);

/** The answers to a stream by id, each as OK or its reason. */
async function outcomesOf(call: RawCall): Promise<Record<string, string | null>> {
  const responses = messagesIn(await call.body, STREAM_RESPONSE) as StreamResponse[];
  const entries = responses.map(({ requestId, status: told }) => [
    requestId,
    told ? readDetails(told).reason : 'OK',
  ]);
  assert.equal(new Set(entries.map(([id]) => id)).size, entries.length, 'no id is answered twice');
  return Object.fromEntries(entries);
}

async function send(
  connection: RawConnection,
  messages: readonly Buffer[],
  more: { readonly encoding?: string } = {},
): Promise<RawCall> {
  const call = connection.begin('ClassifyStream', more);
  for (const message of messages) await call.writeAll(message);
  call.finish();
  return call;
}

describe('an image above the limit in a stream', () => {
  test('is answered by its id, and thirty-nine others as without it', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES });
    const client = new PlainClient(t, `127.0.0.1:${stand.port}`);
    const stream = client.stream();
    for (let at = 0; at < 40; at++) {
      stream.send(`image ${at}`, {
        image: at === 20 ? Buffer.alloc(3 * MAX_MESSAGE_BYTES) : Buffer.from('small'),
      });
    }
    stream.finish();
    assert.equal(await stream.ended, null, 'the call ends with OK');
    const byId = stream.byId();
    assert.equal(byId.size, 40);
    for (const [id, { result, status: told }] of byId) {
      assert.equal(result, id === 'image 20' ? 'status' : 'response', id);
      if (told === undefined || told === null) continue;
      assert.equal(readDetails(told).reason, 'IMAGE_TOO_LARGE');
      assert.match(String(told.message), new RegExp(`limit of ${MAX_IMAGE_BYTES}`));
    }
    assert.equal(stand.images.filter((image) => image === 'OK').length, 39);
    assert.deepEqual(stand.ended, ['ClassifyStream OK']);
  });

  test('is answered by its id wherever that stands, compressed or not', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES });
    const connection = await RawConnection.open(t, stand.port);
    const images = {
      flat: Buffer.alloc(MAX_MESSAGE_BYTES + 50_000),
      rough: noise(MAX_MESSAGE_BYTES + 50_000),
    };
    for (const [encoding, fold] of Object.entries({ gzip: gzipSync, deflate: deflateSync })) {
      const messages = Object.entries(images).flatMap(([name, image]) => [
        inFrame(idFirst(`${name}, first`, image)),
        small(`between ${name}`),
        inFrame(idLast(`${name}, last`, image)),
        inFrame(fold(idFirst(`${name}, first, ${encoding}`, image)), 1),
        inFrame(fold(idFirst(`${name}, small, ${encoding}`, Buffer.from('small'))), 1),
        inFrame(fold(idLast(`${name}, last, ${encoding}`, image)), 1),
      ]);
      const call = await send(connection, messages, { encoding });
      assert.equal((await call.ended).headers['grpc-status'], OK);
      const expected = Object.keys(images).flatMap((name) => [
        [`${name}, first`, 'IMAGE_TOO_LARGE'],
        [`between ${name}`, 'OK'],
        [`${name}, last`, 'IMAGE_TOO_LARGE'],
        [`${name}, first, ${encoding}`, 'IMAGE_TOO_LARGE'],
        [`${name}, small, ${encoding}`, 'OK'],
        [`${name}, last, ${encoding}`, 'IMAGE_TOO_LARGE'],
      ]);
      assert.deepEqual(await outcomesOf(call), Object.fromEntries(expected));
    }
  });

  test('counts from the first byte above the limit', async (t) => {
    const seen: number[] = [];
    const answer = async ({ image }: { readonly image: Uint8Array }) => {
      seen.push(image.length);
      return ANSWER;
    };
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES, answer });
    const connection = await RawConnection.open(t, stand.port);
    /** A message of exactly this size. */
    const ofSize = (requestId: string, bytes: number) => {
      const overhead = idFirst(requestId, Buffer.alloc(bytes)).length - bytes;
      return idFirst(requestId, Buffer.alloc(bytes - overhead));
    };
    const sizes = {
      below: MAX_MESSAGE_BYTES - 1,
      exact: MAX_MESSAGE_BYTES,
      above: MAX_MESSAGE_BYTES + 1,
    };
    for (const fold of [null, gzipSync]) {
      const messages = Object.entries(sizes).map(([name, bytes]) => {
        const message = ofSize(name, bytes);
        assert.equal(message.length, bytes);
        return fold === null ? inFrame(message) : inFrame(fold(message), 1);
      });
      const call = await send(connection, messages, {
        encoding: fold === null ? 'identity' : 'gzip',
      });
      assert.deepEqual(await outcomesOf(call), {
        below: 'OK',
        exact: 'OK',
        above: 'IMAGE_TOO_LARGE',
      });
    }
    assert.equal(seen.length, 4);
  });

  test('without an id, or with one that is too long, is answered without one', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES });
    const connection = await RawConnection.open(t, stand.port);
    const image = Buffer.alloc(MAX_MESSAGE_BYTES);
    for (const requestId of ['', 'x'.repeat(MOST_ID_BYTES + 1)]) {
      const call = await send(connection, [inFrame(idFirst(requestId, image)), small('after')]);
      assert.deepEqual(await outcomesOf(call), { '': 'IMAGE_TOO_LARGE', after: 'OK' });
    }
    const longest = 'x'.repeat(MOST_ID_BYTES);
    const call = await send(connection, [inFrame(idLast(longest, image))]);
    assert.deepEqual(await outcomesOf(call), { [longest]: 'IMAGE_TOO_LARGE' });
  });

  test('takes no permit, and is read in its turn', async (t) => {
    let letGo: () => void = () => {};
    const gone = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const answer = () => gone.then(() => ANSWER);
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES, permits: 2, answer });
    const connection = await RawConnection.open(t, stand.port);
    const tooLarge = inFrame(idFirst('too large', Buffer.alloc(MAX_MESSAGE_BYTES)));
    // One of the two permits is a stream's.
    const first = connection.begin('ClassifyStream');
    for (const message of [small('works'), tooLarge, small('waits')]) await first.writeAll(message);
    await eventually('the image above the limit is answered', () => stand.images.length === 1);
    assert.equal(stand.admission.permits.inUse, 1);
    const behind = connection.begin('ClassifyStream');
    await behind.writeAll(tooLarge);
    await eventually('so is that of another stream', () => stand.images.length === 2);
    behind.finish();
    assert.deepEqual(await outcomesOf(behind), { 'too large': 'IMAGE_TOO_LARGE' });
    first.finish();
    letGo();
    assert.deepEqual(await outcomesOf(first), {
      works: 'OK',
      'too large': 'IMAGE_TOO_LARGE',
      waits: 'OK',
    });
    assert.equal(stand.admission.permits.inUse, 0);
  });

  test('one after another make their sender wait if the answers are not read', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES });
    const connection = await RawConnection.open(t, stand.port, { windowBytes: 0 });
    const call = connection.begin('ClassifyStream');
    const COUNT = 60;
    const sent = (async () => {
      for (let at = 0; at < COUNT; at++)
        await call.writeAll(inFrame(idFirst(String(at), Buffer.alloc(MAX_MESSAGE_BYTES))));
    })();
    await eventually('the server reads no further', async () => {
      const before = stand.images.length;
      if (before === 0) return false;
      for (let round = 0; round < 20; round++) await connection.ping();
      return stand.images.length === before;
    });
    assert(stand.images.length < COUNT / 2, `${stand.images.length} of ${COUNT} were read`);
    await connection.setWindow(65_535);
    await sent;
    call.finish();
    assert.equal(Object.keys(await outcomesOf(call)).length, COUNT);
  });
});

describe('a message far above the limit', () => {
  const LARGEST = 2 ** 32 - 1;

  test('is answered by its id, and ends its stream; earlier ones are answered', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES });
    const connection = await RawConnection.open(t, stand.port);
    for (const length of [LARGEST, SKIPPED_TIMES * MAX_MESSAGE_BYTES + 1]) {
      const call = connection.begin('ClassifyStream');
      for (const id of ['1', '2']) call.write(small(id));
      const beginning = inFrame(idFirst('endless', Buffer.alloc(200_000)));
      beginning.writeUInt32BE(length, 1);
      await call.writeAll(beginning);
      const { headers } = await call.ended;
      assert.deepEqual(
        [headers['grpc-status'], reasonIn(headers)],
        [String(status.INVALID_ARGUMENT), 'IMAGE_TOO_LARGE'],
      );
      const text = decodeURIComponent(String(headers['grpc-message']));
      assert.match(
        text,
        new RegExp(`${length} bytes; up to ${SKIPPED_TIMES * MAX_MESSAGE_BYTES} are skipped`),
      );
      assert.deepEqual(await outcomesOf(call), { 1: 'OK', 2: 'OK', endless: 'IMAGE_TOO_LARGE' });
      await call.closed;
    }
  });

  test('is skipped if it is just near enough', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: 1_000 });
    const connection = await RawConnection.open(t, stand.port);
    const most = SKIPPED_TIMES * (1_000 + 64 * 1024);
    const overhead = idLast('most', Buffer.alloc(most)).length - most;
    const call = await send(connection, [
      inFrame(idLast('most', Buffer.alloc(most - overhead))),
      small('after'),
    ]);
    assert.deepEqual(await outcomesOf(call), { most: 'IMAGE_TOO_LARGE', after: 'OK' });
  });
});

describe('a gzip bomb in a stream', () => {
  test('is answered by its id, and the stream goes on', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES });
    const connection = await RawConnection.open(t, stand.port);
    // 64 MB each, of which 65 KB are sent.
    const bomb = Buffer.alloc(64_000_000);
    const messages = [
      inFrame(gzipSync(idFirst('first', bomb)), 1),
      inFrame(gzipSync(idLast('last', bomb)), 1),
    ];
    const call = await send(connection, [...messages, small('after')], { encoding: 'gzip' });
    // An id that far beyond the limit is not searched for.
    assert.deepEqual(await outcomesOf(call), {
      first: 'IMAGE_TOO_LARGE',
      '': 'IMAGE_TOO_LARGE',
      after: 'OK',
    });
    assert.equal((await call.ended).headers['grpc-status'], OK);
  });

  test('that is damaged beyond the limit is too large, and below it malformed', async (t) => {
    const stand = await RpcStand.open(t, { maxImageBytes: MAX_IMAGE_BYTES });
    const connection = await RawConnection.open(t, stand.port);
    const whole = gzipSync(idFirst('cut', noise(2 * MAX_MESSAGE_BYTES)));
    const cut = await send(
      connection,
      [inFrame(whole.subarray(0, whole.length - 100), 1), small('after')],
      {
        encoding: 'gzip',
      },
    );
    assert.deepEqual(await outcomesOf(cut), { cut: 'IMAGE_TOO_LARGE', after: 'OK' });
    const little = gzipSync(idFirst('little', Buffer.from('small')));
    const malformed = await send(
      connection,
      [small('before'), inFrame(little.subarray(0, little.length - 9), 1)],
      {
        encoding: 'gzip',
      },
    );
    assert.equal(reasonIn((await malformed.ended).headers), 'REQUEST_MALFORMED');
    assert.deepEqual(await outcomesOf(malformed), { before: 'OK' });
  });
});
