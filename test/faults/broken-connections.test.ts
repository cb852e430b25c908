/**
 * Clients that break HTTP/2 in the middle of a call. Such a connection is gone in two seconds, with
 * everything that its call held, whether the client closes it or not; and a server that stops at
 * that moment does not wait for it.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { PlainClient, SERVICE } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
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
import { eventually, type Scope, ServerProcess, SIMULATED, suiteScope } from '../support/server.js';

const GONE_MS = 2_000;
const HEADERS = headerBlock(callHeaders(`/${SERVICE}/Classify`));
const BEGIN = frame(FRAME.headers, END_HEADERS, 1, HEADERS);
const MESSAGE = framed({ image: Buffer.alloc(8_000, 7) });

/** Each after the start of a call on stream 1. */
const damages: readonly (readonly [string, Buffer])[] = [
  ['invalid HPACK', frame(FRAME.headers, END_HEADERS, 3, Buffer.alloc(200, 0xff))],
  [
    'a call whose first frame is of another type, by one bit',
    Buffer.concat([
      frame(FRAME.headers ^ 16, END_HEADERS, 3, HEADERS),
      frame(FRAME.data, END_STREAM, 3, MESSAGE),
    ]),
  ],
  ['DATA of a call that was never begun', frame(FRAME.data, 0, 7, MESSAGE)],
  ['DATA on the connection', frame(FRAME.data, 0, 0, MESSAGE)],
  ['CONTINUATION of nothing', frame(FRAME.continuation, END_HEADERS, 1, Buffer.alloc(10))],
  ['a PING of three bytes', frame(FRAME.ping, 0, 0, Buffer.alloc(3))],
  ['a window that overflows', frame(FRAME.windowUpdate, 0, 0, Buffer.from([0x7f, 255, 255, 255]))],
  ['a frame longer than allowed', frame(FRAME.data, 0, 1, Buffer.alloc(300_000))],
];

/** More than any version of Node.js allows. */
const RESETS = Buffer.concat(
  Array.from({ length: 6_000 }, (_, at) => [
    frame(FRAME.headers, END_HEADERS, 2 * at + 3, HEADERS),
    frame(FRAME.resetStream, 0, 2 * at + 3, Buffer.from([0, 0, 0, 8])),
  ]).flat(),
);

/** Resolves when the server has noticed, with a call open on the connection. */
async function broken(scope: Scope, server: ServerProcess, damage: Buffer): Promise<RawSocket> {
  const raw = await RawSocket.http2(scope, server.port);
  await raw.send(BEGIN, frame(FRAME.data, 0, 1, MESSAGE.subarray(0, 100)));
  await eventually(
    'the call has begun',
    async () => (await server.metric('vitserve_uploads_in_flight')) > 0,
  );
  await raw.send(damage);
  await eventually('the server has noticed', () => raw.has(FRAME.goAway) || raw.isClosed);
  return raw;
}

describe('a connection that broke HTTP/2', () => {
  const scope = suiteScope();
  let server: ServerProcess;

  const nothingIsLeft = async () => {
    let last: readonly number[] = [];
    await eventually(
      'nothing is left',
      async () => {
        const names = ['connections_in_use', 'uploads_in_flight', 'permits_in_use'];
        last = await Promise.all(names.map((name) => server.metric(`vitserve_${name}`)));
        return last.every((value) => value === 0);
      },
      GONE_MS,
    ).catch(() =>
      assert.fail(`after ${GONE_MS} ms there are ${last} connections, uploads, permits`),
    );
  };

  before(async () => {
    server = await ServerProcess.start(scope, SIMULATED);
  });

  for (const [what, damage] of damages) {
    for (const leaves of [true, false]) {
      test(`${what}: it is gone, and its call with it, if the client ${leaves ? 'leaves' : 'stays'}`, async (t) => {
        const raw = await broken(t, server, damage);
        if (leaves) raw.socket.end();
        await nothingIsLeft();
      });
    }
  }

  test('more resets than allowed: it is gone if the client leaves', async (t) => {
    (await broken(t, server, RESETS)).socket.end();
    await nothingIsLeft();
  });

  // Node.js 22.23 closes such a connection by itself and at once, with the call.
  test('more resets than allowed: if the client stays, the open call ends first', async (t) => {
    const raw = await broken(t, server, RESETS);
    const before = await server.metric('vitserve_requests_total', { reason: 'IMAGE_UNSUPPORTED' });
    await raw.send(frame(FRAME.data, END_STREAM, 1, MESSAGE.subarray(100)));
    const answered = async () =>
      (await server.metric('vitserve_requests_total', { reason: 'IMAGE_UNSUPPORTED' })) ===
      before + 1;
    await eventually('the call has ended', async () => raw.isClosed || (await answered()));
    assert(raw.isClosed || raw.has(FRAME.headers), 'the answer has come');
    await nothingIsLeft();
  });

  test('others are answered meanwhile, on connections of their own', async (t) => {
    const client = new PlainClient(t, server.address);
    const image = await plainPng([10, 200, 30]);
    const idle = await RawSocket.http2(t, server.port);
    await client.classify({ image });
    for (const [, damage] of damages) await (await broken(t, server, damage)).closed;
    assert.equal((await client.classify({ image })).predictions.length, 5);
    await idle.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await eventually('the one that says nothing is open', () => idle.has(FRAME.ping));
    await server.metricIs('vitserve_connections_in_use', {}, 2);
  });
});

test('SIGTERM does not wait for connections that broke HTTP/2', async (t) => {
  const server = await ServerProcess.start(t, SIMULATED);
  const raws = await Promise.all(
    [RESETS, ...damages.map(([, damage]) => damage)].map((damage) => broken(t, server, damage)),
  );
  for (const { socket } of raws) socket.end();
  const since = performance.now();
  assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.output);
  assert(performance.now() - since < 5_000, `after ${performance.now() - since} ms`);
});
