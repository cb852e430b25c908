/**
 * A caller that speaks another protocol to the gRPC port is told what the port speaks, in a form
 * that its operators can read.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type IncomingMessage, request as requestHttp1 } from 'node:http';
import {
  type ClientHttp2Stream,
  connect as connectHttp2,
  type IncomingHttpHeaders,
} from 'node:http2';
import { request as requestHttps } from 'node:https';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { Authority } from '../support/certificates.js';
import { PlainClient } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import { FRAME, frame, PREFACE, RawSocket } from '../support/raw-http2.js';
import {
  eventually,
  type Scope,
  ServerProcess,
  SIMULATED,
  suiteScope,
  temporaryFolder,
} from '../support/server.js';

const METHOD = '/vitserve.v1.ClassificationService/Classify';
const ALOUD = 'caller speaks another protocol';

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** POST of `body` over HTTP/2, for as long as the server takes it. */
async function post(
  scope: Scope,
  port: number,
  contentType: string | null,
  body: Uint8Array,
): Promise<Answer> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  scope.after(() => session.destroy());
  const type = contentType === null ? {} : { 'content-type': contentType };
  const stream: ClientHttp2Stream = session.request({
    ':method': 'POST',
    ':path': METHOD,
    ...type,
  });
  stream.on('error', () => {});
  let headers: IncomingHttpHeaders = {};
  stream.on('response', (found) => {
    headers = found;
  });
  let text = '';
  stream.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  stream.end(body);
  await once(stream, 'close');
  return { headers, body: text };
}

async function bodyOf(request: ReturnType<typeof requestHttp1>, body = Buffer.alloc(0)) {
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  return { status: response.statusCode, text, contentType: response.headers['content-type'] };
}

describe('a plaintext port', () => {
  const scope = suiteScope();
  let server: ServerProcess;

  before(async () => {
    server = await ServerProcess.start(scope, [...SIMULATED, '--permits', '8']);
  });

  for (const contentType of [
    'application/grpc-web+proto',
    'application/grpc-web-text',
    'application/grpc-web',
  ]) {
    test(`answers ${contentType} with a status that its callers can read`, async (t) => {
      const { headers, body } = await post(t, server.port, contentType, Buffer.alloc(3_000_000));
      assert.deepEqual([headers[':status'], headers['content-type'], body], [200, contentType, '']);
      assert.equal(headers['grpc-status'], '12');
      assert.match(
        String(headers['grpc-message']),
        /^this port speaks gRPC and not gRPC-Web: put a proxy .*Envoy/,
      );
    });
  }

  for (const contentType of [
    'application/json',
    'application/proto',
    'application/grpcish',
    null,
  ]) {
    test(`answers ${contentType ?? 'no content type'} with 415 and how to call it`, async (t) => {
      const { headers, body } = await post(t, server.port, contentType, Buffer.alloc(3_000_000));
      assert.deepEqual([headers[':status'], headers['content-type']], [415, 'application/json']);
      const { code, message } = JSON.parse(body) as Record<string, string>;
      assert.equal(code, 'unimplemented');
      assert.match(
        message ?? '',
        /^this port speaks gRPC, content-type application\/grpc: call it with a gRPC client/,
      );
    });
  }

  test('accepts gRPC by each of its names', async (t) => {
    for (const contentType of [
      'application/grpc',
      'application/grpc+proto',
      'application/grpc;charset=utf-8',
    ]) {
      const { headers } = await post(t, server.port, contentType, Buffer.alloc(5));
      assert.equal(headers['content-type'], 'application/grpc+proto');
    }
  });

  test('answers HTTP/1.1 with 400 and what it speaks, whatever is sent along', async () => {
    const address = { host: '127.0.0.1', port: server.port };
    for (const method of ['GET', 'POST', 'OPTIONS']) {
      const body = method === 'POST' ? Buffer.alloc(2_000_000) : undefined;
      const answer = await bodyOf(requestHttp1({ ...address, method, path: '/healthz' }), body);
      assert.deepEqual([answer.status, answer.contentType], [400, 'text/plain; charset=utf-8']);
      assert.match(
        answer.text,
        /^This port speaks gRPC: HTTP\/2 from the first byte.* on http-address\.\n$/,
      );
    }
    const { detail } = await server.logged(ALOUD, ({ detail }) =>
      /^the caller speaks HTTP\/1\.1/.test(String(detail)),
    );
    assert.match(String(detail), /^the caller speaks HTTP\/1\.1, this port gRPC/);
    await server.metricIs('vitserve_connections_refused_total', { cause: 'protocol' }, 3);
    assert.equal(server.lines.filter(({ msg }) => msg === ALOUD).length, 1);
  });

  test('closes TLS connections, and the log says so', async (t) => {
    const socket = connectTls({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false });
    t.after(() => socket.destroy());
    await once(socket, 'error');
    await server.logged(ALOUD, ({ detail }) =>
      /^the caller speaks TLS, this port plaintext: .*tls-cert/.test(String(detail)),
    );
  });

  test('accepts HTTP/2 that comes byte by byte, or with much behind it', async (t) => {
    const slow = await RawSocket.open(t, server.port);
    for (const byte of PREFACE) await slow.send(Buffer.of(byte));
    await slow.send(frame(FRAME.settings, 0, 0));
    await eventually('it is answered', () => slow.has(FRAME.settings));
    const eager = await RawSocket.open(t, server.port);
    const one = Buffer.of(0, 0, 0, 1);
    const updates = Buffer.concat(
      Array.from({ length: 6_000 }, () => frame(FRAME.windowUpdate, 0, 0, one)),
    );
    const ping = frame(FRAME.ping, 0, 0, Buffer.alloc(8));
    await eager.send(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0), updates, ping]));
    await eventually('what came last is answered', () => eager.has(FRAME.ping));
  });

  test('stops gracefully while a connection has not sent anything yet', async (t) => {
    const own = await ServerProcess.start(t, [...SIMULATED, '--drain-timeout', '60s']);
    const client = new PlainClient(t, own.address);
    await client.embed({ image: await plainPng([1, 2, 3]) });
    await RawSocket.open(t, own.port);
    const half = await RawSocket.open(t, own.port);
    await half.send(PREFACE.subarray(0, 2));
    const since = performance.now();
    assert.deepEqual(await own.stop(), { code: 0, signal: null });
    assert.ok(performance.now() - since < 30_000, 'it did not wait for them');
  });
});

test('a TLS port answers HTTP/1.1 inside TLS, and logs plaintext', async (t) => {
  const authority = new Authority('authority');
  const folder = temporaryFolder(t);
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const issued = authority.issue({ name: 'server', hosts: ['127.0.0.1'] });
  writeFileSync(cert, issued.cert);
  writeFileSync(key, issued.key, { mode: 0o600 });
  const server = await ServerProcess.start(t, [...SIMULATED, '--tls-cert', cert, '--tls-key', key]);

  // Without ALPN, like old clients; with it, the handshake rejects HTTP/1.1.
  const options = {
    host: '127.0.0.1',
    port: server.port,
    ca: authority.cert,
    ALPNProtocols: [] as string[],
    agent: false,
  };
  const answer = await bodyOf(requestHttps({ ...options, path: '/' } as never));
  assert.deepEqual([answer.status, answer.text.slice(0, 21)], [400, 'This port speaks gRPC']);

  for (const beginning of [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]),
  ]) {
    const before = await server.metric('vitserve_connections_refused_total', { cause: 'protocol' });
    const raw = await RawSocket.open(t, server.port);
    await raw.send(beginning);
    await raw.closed;
    await server.metricIs('vitserve_connections_refused_total', { cause: 'protocol' }, before + 1);
  }
  await server.logged(
    ALOUD,
    ({ detail }) =>
      detail === 'the caller speaks plaintext, this port TLS: have the caller use TLS',
  );
});
