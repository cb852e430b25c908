/** Which real connections count as stalled; the test moves the clock. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerHttp2Session } from 'node:http2';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { onStalled } from '#vitserve/server/workarounds/stalled-sessions.js';
import { Authority } from '../support/certificates.js';
import { FakeClock } from '../support/fake-clock.js';
import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  headerBlock,
  PREFACE,
} from '../support/raw-http2.js';
import { eventually, type Scope } from '../support/server.js';

const LOOK_MS = 500;
const ANSWER_BYTES = 32 * 2 ** 20;
const WIDE = Buffer.from([0x7f, 0, 0, 0]);
const authority = new Authority('authority');
const tls = authority.issue({ name: 'server', hosts: ['127.0.0.1'] });

/**
 * A handwritten client of a server that answers every call with ANSWER_BYTES, and how often the
 * server's session counted as stalled.
 */
async function open(scope: Scope, secure: boolean) {
  const clock = new FakeClock();
  const http2 = createServer();
  let session: ServerHttp2Session | undefined;
  http2.on('session', (begun) => {
    session = begun;
  });
  http2.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.respond();
    stream.end(Buffer.alloc(ANSWER_BYTES));
  });
  let givenUp = 0;
  let served: Socket | undefined;
  const serve = (connection: Socket) => {
    served = connection;
    connection.on('error', () => {});
    http2.emit('connection', connection);
    const cancel = onStalled(connection, clock, () => givenUp++);
    connection.on('close', cancel);
  };
  const server = secure
    ? createTlsServer({ ...tls, ALPNProtocols: ['h2'] }, serve)
    : createTcpServer(serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = secure
    ? connectTls({ port, host: '127.0.0.1', ca: authority.cert, ALPNProtocols: ['h2'] })
    : connect(port, '127.0.0.1');
  client.on('error', () => {});
  let received = 0;
  client.on('data', (bytes: Buffer) => {
    received += bytes.length;
  });
  scope.after(() => {
    client.destroy();
    served?.destroy();
    server.close();
  });
  await once(client, secure ? 'secureConnect' : 'connect');
  // A window as wide as the answer, for the call and the connection.
  client.write(
    Buffer.concat([
      PREFACE,
      frame(FRAME.settings, 0, 0, Buffer.from([0, 4, ...WIDE])),
      frame(FRAME.windowUpdate, 0, 0, WIDE),
    ]),
  );
  await eventually(
    'HTTP/2 has begun',
    () => session?.remoteSettings?.initialWindowSize === WIDE.readUInt32BE(),
  );
  return { clock, client, received: () => received, givenUp: () => givenUp, served: () => served };
}

for (const secure of [false, true]) {
  describe(secure ? 'TLS' : 'plaintext', () => {
    test('one that broke HTTP/2 counts, at the second look, once', async (t) => {
      const { clock, client, received, givenUp, served } = await open(t, secure);
      const before = received();
      client.write(frame(FRAME.continuation, END_HEADERS, 1, Buffer.alloc(10)));
      await eventually('GOAWAY has come', () => received() > before);
      await delay(100);
      if (served()?.destroyed) {
        t.diagnostic('this Node.js closes it by itself');
        clock.advance(100 * LOOK_MS);
        assert.equal(givenUp(), 0);
        return;
      }
      clock.advance(LOOK_MS);
      assert.equal(givenUp(), 0);
      clock.advance(LOOK_MS);
      assert.equal(givenUp(), 1);
      clock.advance(100 * LOOK_MS);
      assert.equal(givenUp(), 1);
      client.destroy();
    });

    test('an idle one does not', async (t) => {
      const { clock, givenUp } = await open(t, secure);
      clock.advance(100 * LOOK_MS);
      assert.equal(givenUp(), 0);
    });

    test('one whose client does not read does not, and gets everything later', async (t) => {
      const { clock, client, received, givenUp, served } = await open(t, secure);
      client.pause();
      client.write(
        frame(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock(callHeaders('/large'))),
      );
      await eventually(
        'the answer is on its way',
        () => (served()?.bytesWritten ?? 0) > ANSWER_BYTES,
      );
      for (let look = 0; look < 20; look++) {
        clock.advance(LOOK_MS);
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal(givenUp(), 0);
      client.resume();
      await eventually('all of it has come', () => received() > ANSWER_BYTES);
      clock.advance(100 * LOOK_MS);
      assert.equal(givenUp(), 0);
    });

    test('one whose client has closed does not, and is not watched after its end', async (t) => {
      const { clock, client, givenUp, served } = await open(t, secure);
      client.end();
      await eventually('the server has seen it', () => served()?.closed === true);
      clock.advance(100 * LOOK_MS);
      assert.deepEqual([givenUp(), clock.timers], [0, 0]);
    });
  });
}
