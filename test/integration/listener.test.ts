/** Connections that send nothing, or too little, are ended in time; the test moves the clock. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { Listener, type ListenerOptions } from '#vitserve/server/transport/listener.js';
import { Authority } from '../support/certificates.js';
import { FakeClock } from '../support/fake-clock.js';
import { FRAME, frame, PREFACE, RawSocket } from '../support/raw-http2.js';
import { eventually, type Scope } from '../support/server.js';

const HANDSHAKE_TIMEOUT_MS = 10_000;
const LINGER_MS = 5_000;

/** A gRPC server without services behind a listener. */
async function listen(
  scope: Scope,
  more: Partial<ListenerOptions> = {},
  options: ConstructorParameters<typeof Server>[0] = {},
) {
  const clock = new FakeClock();
  const refused: string[] = [];
  const server = new Server({ 'grpc.enable_channelz': 0, ...options });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = await Listener.listen({
    option: 'address',
    address: { host: '127.0.0.1', port: 0 },
    tls: null,
    maxConnections: 3,
    clock,
    report: (event) => {
      if (event.kind === 'connection-refused') refused.push(event.cause);
    },
    inject: (connection) => injector.injectConnection(connection),
    handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
    lingerMs: LINGER_MS,
    ...more,
  });
  scope.after(() => {
    listener.destroy();
    server.forceShutdown();
  });
  return { clock, listener, refused, server, open: () => listener.connections };
}

function untilClosed(...raws: RawSocket[]): Promise<unknown> {
  return eventually('they are closed', () => raws.every(({ isClosed }) => isClosed));
}

describe('a plaintext port', () => {
  test("ends connections that send nothing, or half of HTTP/2's preface, and no others", async (t) => {
    const { clock, listener, refused, open } = await listen(t);
    const silent = await RawSocket.open(t, listener.port);
    const half = await RawSocket.open(t, listener.port);
    await half.send(PREFACE.subarray(0, 12));
    const whole = await RawSocket.http2(t, listener.port);
    await eventually('the server has begun HTTP/2', () => whole.has(FRAME.settings));
    await eventually('all are seen', () => open() === 3);
    clock.advance(HANDSHAKE_TIMEOUT_MS - 1);
    assert.deepEqual(refused, []);
    clock.advance(1);
    await untilClosed(silent, half);
    assert.deepEqual(refused, ['handshake_timeout', 'handshake_timeout']);
    await whole.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await eventually('the one that began is answered', () => whole.has(FRAME.ping));
    assert.equal(open(), 1);
  });

  test('accepts so many connections and no more', async (t) => {
    const { listener, refused, open } = await listen(t);
    const first = await Promise.all(
      Array.from({ length: 3 }, () => RawSocket.open(t, listener.port)),
    );
    await eventually('three are open', () => open() === 3);
    const extra = await RawSocket.open(t, listener.port);
    await untilClosed(extra);
    assert.deepEqual(refused, ['limit']);
    first[0]?.socket.destroy();
    await eventually('one has gone', () => open() === 2);
    await RawSocket.http2(t, listener.port);
    await eventually('another one has come', () => open() === 3);
    assert.deepEqual(refused, ['limit']);
  });

  test('ends an idle connection, even if its other end never closes', async (t) => {
    const { clock, listener, open } = await listen(t, {}, { 'grpc.max_connection_idle_ms': 50 });
    const raw = await RawSocket.open(t, listener.port, { allowHalfOpen: true });
    await raw.send(PREFACE, frame(FRAME.settings, 0, 0));
    await untilClosed(raw);
    assert(raw.has(FRAME.goAway));
    assert.equal(open(), 1, 'the other end has not closed');
    clock.advance(LINGER_MS);
    await eventually('it is gone', () => open() === 0);
  });

  test('knows when the connections that it has handed over are gone', async (t) => {
    const { listener, open } = await listen(t);
    await listener.drained();
    const [one, other] = [
      await RawSocket.http2(t, listener.port),
      await RawSocket.http2(t, listener.port),
    ];
    await eventually('both are open', () => open() === 2);
    let isDrained = false;
    const drained = listener.drained().then(() => {
      isDrained = true;
    });
    other.socket.destroy();
    await eventually('one has gone', () => open() === 1);
    assert.equal(isDrained, false);
    one.socket.destroy();
    await drained;
    assert.equal(open(), 0);
  });

  test('a port in use, and an unknown name, are set-up errors with a remedy', async (t) => {
    const { listener } = await listen(t);
    await assert.rejects(listen(t, { address: { host: '127.0.0.1', port: listener.port } }), {
      name: 'SetupError',
      message: new RegExp(
        `^address: can't listen on 127.0.0.1:${listener.port} \\(.*EADDRINUSE.*: end what uses it`,
      ),
    });
    await assert.rejects(listen(t, { address: { host: 'no-such-host.invalid', port: 0 } }), {
      name: 'SetupError',
    });
  });

  test('localhost means all of its addresses, on one port', async (t) => {
    const { listener } = await listen(t, { address: { host: 'localhost', port: 0 } });
    const raw = await RawSocket.http2(t, listener.port);
    await eventually('it is answered', () => raw.has(FRAME.settings));
  });
});

describe('a TLS port', () => {
  const authority = new Authority('authority');
  const tls = {
    ...authority.issue({ name: 'server', hosts: ['127.0.0.1'] }),
    minVersion: 'TLSv1.2' as const,
  };

  test('ends connections that send nothing, or half of a handshake, or only that', async (t) => {
    const { clock, listener, refused, open } = await listen(t, { tls, handshakeTimeoutMs: 300 });
    const silent = await RawSocket.open(t, listener.port);
    const half = await RawSocket.open(t, listener.port);
    // The beginning of a ClientHello of 512 bytes.
    await half.send(Buffer.from('16030102000100', 'hex'));
    const mute = connectTls({
      port: listener.port,
      host: '127.0.0.1',
      ca: authority.cert,
      ALPNProtocols: ['h2'],
    });
    mute.on('error', () => {});
    t.after(() => mute.destroy());
    await once(mute, 'secureConnect');
    await untilClosed(silent, half);
    assert.deepEqual(refused, ['handshake_timeout', 'handshake_timeout']);
    await eventually('only the third is left', () => open() === 1);
    mute.resume();
    clock.advance(300);
    await eventually('it is closed', () => mute.destroyed);
    assert.deepEqual(refused, Array(3).fill('handshake_timeout'));
    await eventually('none is left', () => open() === 0);
  });

  test('leaves connections alone that have begun HTTP/2', async (t) => {
    const { clock, listener, refused } = await listen(t, { tls });
    const session = connectHttp2(`https://127.0.0.1:${listener.port}`, { ca: authority.cert });
    session.on('error', () => {});
    t.after(() => session.destroy());
    await once(session, 'remoteSettings');
    clock.advance(HANDSHAKE_TIMEOUT_MS);
    await new Promise((resolve, reject) =>
      session.ping((error) => (error ? reject(error) : resolve(null))),
    );
    assert.deepEqual(refused, []);
  });

  test('uses a new certificate for new connections and keeps the open ones', async (t) => {
    const { listener } = await listen(t, { tls });
    const shown = async () => {
      const socket = connectTls({
        port: listener.port,
        host: '127.0.0.1',
        ca: authority.cert,
        ALPNProtocols: ['h2'],
      });
      socket.on('error', () => {});
      t.after(() => socket.destroy());
      await once(socket, 'secureConnect');
      return { socket, name: socket.getPeerCertificate().subject.CN };
    };
    const before = await shown();
    listener.setTls({ ...tls, ...authority.issue({ name: 'successor', hosts: ['127.0.0.1'] }) });
    const after = await shown();
    assert.deepEqual([before.name, after.name], ['server', 'successor']);
    assert.equal(before.socket.destroyed, false);
    assert.throws(() => listener.setTls({ ...tls, cert: 'nothing' }));
    assert.equal((await shown()).name, 'successor');
  });
});
