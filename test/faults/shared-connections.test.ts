/**
 * One connection that many callers share, as behind a proxy: what some of them do costs the others
 * nothing.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from 'node:http2';
import { before, describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { MOST_CALLS_OF_A_CONNECTION } from '#vitserve/server/rpc/grpc-server.js';
import { MOST_WATCHES_OF_A_CONNECTION } from '#vitserve/server/rpc/health.js';
import { SERVICE } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import { underLoad } from '../support/load.js';
import { framed, RawConnection } from '../support/raw-call.js';
import {
  callHeaders,
  END_HEADERS,
  FRAME,
  frame,
  headerBlock,
  RawSocket,
} from '../support/raw-http2.js';
import { eventually, type Scope, ServerProcess, SIMULATED, suiteScope } from '../support/server.js';

const CLASSIFY = `/${SERVICE}/Classify`;
const WATCH = '/grpc.health.v1.Health/Watch';
const INNOCENT_CALLERS = 4;
/** Several times HTTP/2's limit for one connection. */
const RESETS = 3_000;
const RESETS_PER_CALL = 6;

/**
 * The upstream side of a proxy: one connection at a time, a new one as soon as the old one
 * announces its end.
 */
class Gateway {
  readonly #url: string;
  readonly #sessions: ClientHttp2Session[] = [];
  #current: ClientHttp2Session | null = null;

  constructor(scope: Scope, port: number) {
    this.#url = `http://127.0.0.1:${port}`;
    scope.after(() => {
      for (const session of this.#sessions) session.destroy();
    });
  }

  get connections(): number {
    return this.#sessions.length;
  }

  async #session(): Promise<ClientHttp2Session> {
    if (this.#current !== null) return this.#current;
    const session = connect(this.#url);
    const leave = () => {
      if (this.#current === session) this.#current = null;
    };
    for (const event of ['goaway', 'close', 'error'] as const) session.on(event, leave);
    this.#sessions.push(session);
    this.#current = session;
    await once(session, 'connect');
    return session;
  }

  /**
   * The gRPC status, or how the stream ended without one. A call that was never begun is sent
   * again, as HTTP/2 allows.
   */
  async call(body: Buffer): Promise<string> {
    for (;;) {
      const session = await this.#session();
      if (session.closed || session.destroyed) {
        await turn();
        continue;
      }
      const stream = session.request(callHeaders(CLASSIFY));
      let status: string | undefined;
      const note = (headers: IncomingHttpHeaders) => {
        status ??= headers['grpc-status'] as string | undefined;
      };
      stream
        .on('response', note)
        .on('trailers', note)
        .on('error', () => {});
      const closed = new Promise((resolve) => stream.on('close', resolve));
      stream.resume().end(body);
      await closed;
      if (status !== undefined) return status;
      if (stream.rstCode !== constants.NGHTTP2_REFUSED_STREAM)
        return `RST_STREAM ${stream.rstCode}`;
    }
  }

  /** Begins a call and cancels it amid its message. */
  async leave(body: Buffer): Promise<void> {
    const session = await this.#session();
    if (session.closed || session.destroyed) return;
    const stream = session.request(callHeaders(CLASSIFY));
    stream.on('error', () => {});
    stream.resume().write(body.subarray(0, -1));
    await turn();
    stream.close(constants.NGHTTP2_CANCEL);
  }
}

describe('a connection of a proxy', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let body: Buffer;

  before(async () => {
    server = await ServerProcess.start(scope, [...SIMULATED, '--permits', '64']);
    body = framed({ image: await plainPng([1, 2, 3]) });
  });

  test(`${RESETS} cancelled calls cost no other call its answer`, async (t) => {
    const gateway = new Gateway(t, server.port);
    const statuses = await underLoad(INNOCENT_CALLERS, RESETS / RESETS_PER_CALL, async () => {
      for (let reset = 0; reset < RESETS_PER_CALL; reset++) await gateway.leave(body);
      return await gateway.call(body);
    });
    t.diagnostic(`${gateway.connections} connections`);
    assert.deepEqual(
      statuses.filter((status) => status !== '0'),
      [],
    );
    await server.metricIs('vitserve_uploads_in_flight', {}, 0);
    await server.metricIs('vitserve_permits_in_use', {}, 0);
  });

  test('a flood of resets whose sender ignores GOAWAY loses its connection', async (t) => {
    const raw = await RawSocket.http2(t, server.port);
    const headers = headerBlock(callHeaders(CLASSIFY));
    for (let stream = 1; stream < 40_000 && !raw.has(FRAME.goAway); stream += 2) {
      await raw.send(
        frame(FRAME.headers, END_HEADERS, stream, headers),
        frame(FRAME.resetStream, 0, stream, Buffer.from([0, 0, 0, 8])),
      );
    }
    await eventually('it is closed', () => raw.isClosed);
  });

  test('may hold 200 Watch calls; further ones are UNIMPLEMENTED, and images go on', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const watch = () => {
      const call = connection.beginPath(WATCH);
      call.write(framed({ service: SERVICE }, 'grpc.health.v1.HealthCheckRequest'));
      call.finish();
      return call;
    };
    const classify = async () => {
      const call = connection.begin('Classify');
      call.write(body);
      call.finish();
      return (await call.ended).headers['grpc-status'];
    };
    const watches = Array.from({ length: 200 }, watch);
    assert.deepEqual(await Promise.all(Array.from({ length: 50 }, classify)), Array(50).fill('0'));
    while (watches.length < MOST_WATCHES_OF_A_CONNECTION) watches.push(watch());
    const { headers } = await watch().ended;
    assert.equal(
      headers['grpc-status'],
      '12',
      'a client calls without watching after this status and no other',
    );
    const rest = MOST_CALLS_OF_A_CONNECTION - MOST_WATCHES_OF_A_CONNECTION;
    assert(rest >= 400);
    assert.deepEqual(await Promise.all(Array.from({ length: 50 }, classify)), Array(50).fill('0'));
    const ended = watches.map((each) => each.ended.then(() => true));
    assert.equal(await Promise.race([...ended, turn(false)]), false, 'all of them are open');
  });
});
