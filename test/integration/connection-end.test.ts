/**
 * How an innocent connection is ended, frame by frame: calls in flight are answered, and the client
 * knows which were not taken. The test moves the clock, and the client answers PING when the test
 * says so.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { before, describe, mock, test } from 'node:test';
import {
  Client,
  credentials,
  ServerInterceptingCall,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { type Clock, systemClock } from '#vitserve/clock.js';
import { createGrpcServer } from '#vitserve/server/rpc/grpc-server.js';
import { Listener, type ListenerOptions } from '#vitserve/server/transport/listener.js';
import { Authority } from '../support/certificates.js';
import { FakeClock } from '../support/fake-clock.js';
import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  FRAME,
  type Frame,
  frame,
  headerBlock,
  RawSocket,
} from '../support/raw-http2.js';
import { eventually, type Scope } from '../support/server.js';

const AGE_MS = 60_000;
const IDLE_MS = 10_000;
const QUIET_MS = 1_000;
const ROUND_TRIP_MS = 1_000;
const NOTICE_STREAM = 2 ** 31 - 1;
const ACK = 1;
const CANCEL = Buffer.from([0, 0, 0, 8]);
/** An empty message. */
const MESSAGE = Buffer.alloc(5);

const raw = { serialize: (value: Buffer) => value, deserialize: (bytes: Buffer) => bytes };
const methodOf = (path: string) => ({
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: raw.serialize,
  requestDeserialize: raw.deserialize,
  responseSerialize: raw.serialize,
  responseDeserialize: raw.deserialize,
});

interface Limits {
  readonly age?: number;
  readonly idle?: number;
  readonly tls?: ListenerOptions['tls'];
}

/**
 * A server whose calls to /test/Now are answered at once, and those to /test/Later when `answer` is
 * called.
 */
async function listen<Time extends Clock = FakeClock>(
  scope: Scope,
  { age = 0, idle, tls = null }: Limits,
  clock = new FakeClock() as Clock as Time,
) {
  const waiting: (() => void)[] = [];
  const { server, inject, retire } = createGrpcServer({
    maxMessageBytes: 1024,
    maxConnectionAgeMs: age,
    ...(idle === undefined ? {} : { maxConnectionIdleMs: idle }),
    clock,
    interceptor: (_, call) => new ServerInterceptingCall(call),
  });
  server.addService(
    { now: methodOf('/test/Now'), later: methodOf('/test/Later') },
    {
      now: (_: unknown, reply: (error: null, value: Buffer) => void) =>
        reply(null, Buffer.alloc(0)),
      later: (_: unknown, reply: (error: null, value: Buffer) => void) =>
        waiting.push(() => reply(null, Buffer.alloc(0))),
    },
  );
  const listener = await Listener.listen({
    option: 'address',
    address: { host: '127.0.0.1', port: 0 },
    tls,
    maxConnections: 10,
    clock,
    report: () => {},
    inject,
  });
  scope.after(() => {
    listener.destroy();
    server.forceShutdown();
  });
  const answer = async () => {
    await eventually('a call waits', () => waiting.length > 0);
    waiting.shift()?.();
  };
  return { clock, port: listener.port, retire, answer, waiting };
}

/** A client that sends and answers what the test tells it to. */
async function open(scope: Scope, port: number) {
  const socket = await RawSocket.http2(scope, port);
  await eventually(
    'HTTP/2 has begun',
    () => socket.frames().filter(({ type }) => type === FRAME.settings).length === 2,
  );
  const of = (type: number) => socket.frames().filter((each) => each.type === type);
  const pings = () => of(FRAME.ping).filter(({ flags }) => (flags & ACK) === 0);
  let acknowledged = 0;
  return {
    socket,
    call: (stream: number, path: string) =>
      socket.send(
        frame(FRAME.headers, END_HEADERS, stream, headerBlock(callHeaders(path))),
        frame(FRAME.data, END_STREAM, stream, MESSAGE),
      ),
    reset: (stream: number) => socket.send(frame(FRAME.resetStream, 0, stream, CANCEL)),
    answered: (stream: number) =>
      eventually(`call ${stream} is answered`, () =>
        of(FRAME.headers).some((each) => each.stream === stream && (each.flags & END_STREAM) !== 0),
      ),
    pings,
    /** Waits for the next PING. Returns a function that answers it. */
    nextPing: async () => {
      const { payload } = await eventually('a PING has come', () => pings()[acknowledged]);
      acknowledged++;
      return () => socket.send(frame(FRAME.ping, ACK, 0, payload));
    },
    /** The last stream ids of the GOAWAY frames so far. */
    goAways: () => of(FRAME.goAway).map(({ payload }) => payload.readUInt32BE(0)),
    codes: () => of(FRAME.goAway).map(({ payload }) => payload.readUInt32BE(4)),
  };
}

/** Where an age lies in its jitter: in the middle, unless a test says otherwise. */
let random = 0.5;
before(() => {
  mock.method(Math, 'random', () => random);
});

type RawClient = Awaited<ReturnType<typeof open>>;

const noticed = (client: RawClient) =>
  eventually('the notice has come', () => client.goAways().length === 1);

/** Both round trips, and the end. */
async function leaveInOrder(client: RawClient): Promise<void> {
  await (await client.nextPing())();
  await noticed(client);
  await (await client.nextPing())();
  await client.socket.closed;
}

const names = new Map<number, string>(Object.entries(FRAME).map(([name, type]) => [type, name]));
const nameOf = ({ type }: Frame) => names.get(type) ?? String(type);

describe('a connection that has reached its age', () => {
  test('gets GOAWAY of 2³¹ − 1, PING, answers, the final GOAWAY, and is closed', async (t) => {
    const { clock, port } = await listen(t, { age: AGE_MS });
    const client = await open(t, port);
    await client.call(1, '/test/Now');
    await client.answered(1);
    clock.advance(AGE_MS);
    const acknowledge = await client.nextPing();
    assert.deepEqual(client.goAways(), []);
    await acknowledge();
    await noticed(client);
    assert.deepEqual(client.goAways(), [NOTICE_STREAM]);
    const acknowledgeNotice = await client.nextPing();
    const since = client.socket.frames().length;
    await client.call(3, '/test/Now');
    await client.answered(3);
    await acknowledgeNotice();
    await client.socket.closed;
    assert.equal(client.goAways()[1], 3, 'the call that was begun in between was taken');
    assert(client.goAways().every((last) => last >= 3));
    assert(client.codes().every((code) => code === 0));
    const order = client.socket.frames().map(nameOf);
    assert.deepEqual(order.slice(since - 2, since), ['goAway', 'ping']);
    assert(
      order.lastIndexOf('headers') < order.indexOf('goAway', since),
      'answered before the final GOAWAY',
    );
  });

  test('is closed once the calls taken so far are answered; later ones are not', async (t) => {
    const { clock, port, answer } = await listen(t, { age: AGE_MS });
    const client = await open(t, port);
    await client.call(1, '/test/Later');
    await eventually('it is there', () => client.socket.frames().length > 0);
    clock.advance(AGE_MS);
    await (await client.nextPing())();
    await noticed(client);
    const acknowledge = await client.nextPing();
    await client.call(3, '/test/Later');
    await acknowledge();
    await eventually('the final GOAWAY has come', () => client.goAways().length === 2);
    assert.deepEqual(client.goAways(), [NOTICE_STREAM, 3]);
    await client.call(5, '/test/Now');
    await answer();
    await client.answered(1);
    assert.equal(client.socket.isClosed, false);
    await answer();
    await client.answered(3);
    await client.socket.closed;
    assert.equal(client.socket.frames().filter(({ stream }) => stream === 5).length, 0);
  });

  test('gets GOAWAY only when no answer is on its way to the client', async (t) => {
    const { clock, port, answer } = await listen(t, { age: AGE_MS });
    const client = await open(t, port);
    await client.call(1, '/test/Later');
    await answer();
    await client.answered(1);
    await client.call(3, '/test/Later');
    clock.advance(AGE_MS);
    const acknowledge = await client.nextPing();
    await answer();
    await client.answered(3);
    await acknowledge();
    // A PING of the client's own comes back after the server has handled the client's answer.
    await client.socket.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await eventually('it came back', () =>
      client.socket.frames().some((each) => each.type === FRAME.ping && each.flags === ACK),
    );
    assert.deepEqual(client.goAways(), []);
    clock.advance(5);
    await leaveInOrder(client);
    assert.equal(client.goAways()[0], NOTICE_STREAM);
  });

  test('has a jitter of a tenth, so that not all connections end together', async (t) => {
    t.after(() => {
      random = 0.5;
    });
    for (const [at, share] of [
      [0, 0.9],
      [1, 1.1],
    ] as const) {
      random = at;
      const { clock, port } = await listen(t, { age: AGE_MS });
      const client = await open(t, port);
      clock.advance(AGE_MS * share - 1);
      await client.call(1, '/test/Now');
      await client.answered(1);
      assert.deepEqual(client.pings(), []);
      clock.advance(1);
      await leaveInOrder(client);
    }
  });

  test('that never answers PING gets GOAWAY too, and is closed', async (t) => {
    const { clock, port } = await listen(t, { age: AGE_MS });
    const client = await open(t, port);
    clock.advance(AGE_MS);
    await client.nextPing();
    clock.advance(QUIET_MS - 1);
    assert.deepEqual(client.goAways(), []);
    clock.advance(1);
    await noticed(client);
    clock.advance(ROUND_TRIP_MS);
    await client.socket.closed;
    assert.deepEqual(client.goAways().slice(0, 2), [NOTICE_STREAM, 0]);
  });

  test('may finish calls for the same time again; then they are UNAVAILABLE', async (t) => {
    const { clock, port, waiting } = await listen(t, { age: AGE_MS });
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.enable_retries': 0,
    });
    t.after(() => client.close());
    const ended = new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest(
        '/test/Later',
        raw.serialize,
        raw.deserialize,
        Buffer.alloc(0),
        resolve,
      );
    });
    await eventually('the call is there', () => waiting.length === 1);
    clock.advance(AGE_MS);
    const error = await eventually('it has ended', async () => {
      clock.advance(AGE_MS / 10);
      return await Promise.race([
        ended,
        new Promise<null>((resolve) => setImmediate(resolve, null)),
      ]);
    });
    assert.equal(status[error.code], 'UNAVAILABLE', error.details);
  });
});

describe('a connection without a call', () => {
  test('is ended gracefully after its time, counted from the end of its last call', async (t) => {
    const { clock, port } = await listen(t, { idle: IDLE_MS });
    const client = await open(t, port);
    clock.advance(IDLE_MS - 1);
    await client.call(1, '/test/Now');
    await client.answered(1);
    clock.advance(IDLE_MS - 1);
    assert.deepEqual(client.pings(), []);
    clock.advance(1);
    await leaveInOrder(client);
    assert.equal(client.goAways()[0], NOTICE_STREAM);
  });

  test('is not ended while it has a call, however long that takes', async (t) => {
    const { clock, port, answer } = await listen(t, { idle: IDLE_MS });
    const client = await open(t, port);
    await client.call(1, '/test/Later');
    await client.socket.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await eventually('the call is there', () => client.socket.has(FRAME.ping));
    clock.advance(10 * IDLE_MS);
    assert.deepEqual(client.pings(), []);
    await answer();
    await client.answered(1);
    clock.advance(IDLE_MS);
    await leaveInOrder(client);
  });
});

describe('a server that stops', () => {
  test('ends every connection gracefully, and knows when no further call can come', async (t) => {
    const { port, retire } = await listen(t, {});
    const clients = [await open(t, port), await open(t, port)];
    let isRetired = false;
    const retired = retire().then(() => {
      isRetired = true;
    });
    for (const client of clients) {
      assert.equal(isRetired, false);
      await leaveInOrder(client);
      assert.equal(client.goAways()[0], NOTICE_STREAM);
    }
    await retired;
  });

  test('does not wait for connections that are gone', async (t) => {
    const { port, retire } = await listen(t, {});
    const client = await open(t, port);
    const retired = retire();
    await client.nextPing();
    client.socket.socket.destroy();
    await retired;
    await retire();
  });
});

test("under TLS, where Node.js can't send the notice, GOAWAY comes when no answer is on its way", async (t) => {
  const authority = new Authority('authority');
  const tls = {
    ...authority.issue({ name: 'server', hosts: ['127.0.0.1'] }),
    minVersion: 'TLSv1.2' as const,
  };
  const { clock, port, answer, waiting } = await listen(t, { age: AGE_MS, tls });
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: authority.cert });
  session.on('error', () => {});
  t.after(() => session.destroy());
  const goAways: number[] = [];
  session.on('goaway', (_, last) => goAways.push(last));
  await once(session, 'remoteSettings');
  const stream = session.request(callHeaders('/test/Later'));
  stream.resume().end(MESSAGE);
  await eventually('the call is there', () => waiting.length === 1);
  const closed = once(stream, 'close');
  clock.advance(AGE_MS);
  await eventually('GOAWAY has come', () => goAways.length > 0);
  assert.deepEqual(goAways, [1]);
  await answer();
  await closed;
  assert.equal(stream.rstCode, 0);
  await eventually('it is closed', () => session.destroyed);
});

describe('resets', () => {
  test("close to HTTP/2's limit end the connection gracefully, before all its calls are lost", async (t) => {
    const { port, answer, waiting } = await listen(t, {}, systemClock);
    const client = await open(t, port);
    await client.call(1, '/test/Later');
    await eventually('the innocent call is there', () => waiting.length === 1);
    let stream = 3;
    for (; client.pings().length === 0 && stream < 20_000; stream += 2) {
      await client.call(stream, '/test/Later');
      await client.reset(stream);
      if (stream % 100 === 1) await new Promise((resolve) => setImmediate(resolve));
    }
    await (await client.nextPing())();
    await noticed(client);
    await (await client.nextPing())();
    await eventually('the final GOAWAY has come', () => client.goAways().length === 2);
    t.diagnostic(`${(stream - 3) / 2} resets`);
    assert(
      client.codes().every((code) => code === 0),
      'GOAWAY has an error code',
    );
    await answer();
    await client.answered(1);
    await client.socket.closed;
  });

  test('are not counted if calls end as they should', async (t) => {
    const { port } = await listen(t, {});
    const client = await open(t, port);
    for (let stream = 1; stream < 2 * 2_500; stream += 1_000) {
      for (let at = 0; at < 500; at++) await client.call(stream + 2 * at, '/test/Now');
      await client.answered(stream + 998);
    }
    assert.deepEqual([client.pings(), client.goAways()], [[], []]);
  });
});
