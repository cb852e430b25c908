/**
 * What strangers can do to the port without a valid call. After each attack the server answers a
 * good call on a connection of its own, has lost no process and has not grown.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { VitserveClient, VitserveError } from '#vitserve/client/client.js';
import { MOST_WATCHES_OF_A_CONNECTION } from '#vitserve/server/rpc/health.js';
import { failureOf, PlainClient, readDetails, SERVICE } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import { countingProxy, framed, RawConnection, reasonIn } from '../support/raw-call.js';
import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  headerBlock,
  RawSocket,
} from '../support/raw-http2.js';
import { eventually, ServerProcess, SIMULATED, suiteScope } from '../support/server.js';

const CLASSIFY = `/${SERVICE}/Classify`;
const MAX_IMAGE_BYTES = 2 ** 20;
const UPLOAD_TIMEOUT_MS = 2_000;
const MIB = 2 ** 20;
/** How much the front may grow during an attack; a successful attack takes hundreds. */
const GROWTH_BYTES = 96 * MIB;

function residentBytes(pid: number): number {
  const [, kilobytes] =
    /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

describe('a server on a hostile network', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let image: Buffer;
  let children: readonly number[];
  let bytesBefore: number;

  const isWell = async () => {
    assert.equal((await client.classify({ image })).predictions.length, 5);
    assert.equal(server.exit, null, server.output);
    assert(
      !server.lines.some(({ level }) => level === 'error' || level === 'fatal'),
      server.output,
    );
    assert.deepEqual(server.childPids(), children, 'no process was lost');
    const grownBy = residentBytes(server.pid) - bytesBefore;
    assert(grownBy < GROWTH_BYTES, `the front has grown by ${Math.round(grownBy / MIB)} MiB`);
  };

  before(async () => {
    server = await ServerProcess.start(scope, [
      ...SIMULATED,
      '--max-image-bytes',
      String(MAX_IMAGE_BYTES),
      '--upload-timeout',
      `${UPLOAD_TIMEOUT_MS}ms`,
      '--permits',
      '64',
    ]);
    client = new PlainClient(scope, server.address);
    image = await plainPng([10, 200, 30]);
    await client.classify({ image });
    children = server.childPids();
    bytesBefore = residentBytes(server.pid);
  });

  test('survives 10,000 calls that are reset at once', async (t) => {
    const raw = await RawSocket.http2(t, server.port);
    const headers = headerBlock(callHeaders(CLASSIFY));
    for (let call = 0; call < 10_000 && !raw.isClosed; call++) {
      const stream = 2 * call + 1;
      await raw.send(
        frame(FRAME.headers, END_HEADERS, stream, headers),
        frame(FRAME.resetStream, 0, stream, Buffer.from([0, 0, 0, 8])),
      );
    }
    await isWell();
    await server.metricIs('vitserve_uploads_in_flight', {}, 0);
    await server.metricIs('vitserve_permits_in_use', {}, 0);
  });

  test('survives headers without end', async (t) => {
    const raw = await RawSocket.http2(t, server.port);
    const piece = headerBlock({ 'x-filler': 'a'.repeat(8_000) });
    await raw.send(frame(FRAME.headers, 0, 1, headerBlock(callHeaders(CLASSIFY))));
    let sent = 0;
    for (; sent < 20_000 && !raw.isClosed; sent++)
      await raw.send(frame(FRAME.continuation, 0, 1, piece));
    assert(raw.isClosed, `${sent} pieces were taken`);
    await isWell();
  });

  for (const [what, type, payload] of [
    ['PING', FRAME.ping, Buffer.alloc(8)],
    ['SETTINGS', FRAME.settings, Buffer.alloc(0)],
  ] as const) {
    test(`survives ${what} frames without end, their answers unread`, async (t) => {
      const raw = await RawSocket.http2(t, server.port);
      raw.socket.pause();
      const many = Buffer.concat(Array.from({ length: 1_000 }, () => frame(type, 0, 0, payload)));
      const patience = AbortSignal.timeout(3_000);
      for (let sent = 0; sent < 500 && !raw.isClosed && !patience.aborted; sent++) {
        await Promise.race([
          raw.send(many),
          new Promise((resolve) => patience.addEventListener('abort', resolve, { once: true })),
        ]);
      }
      await isWell();
    });
  }

  test('metadata of a megabyte is cut off, and so are a thousand entries of it', async (t) => {
    for (const more of [
      { 'x-filler': 'a'.repeat(MIB) },
      Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`x-${at}`, 'a'])),
    ]) {
      const session = connect(`http://127.0.0.1:${server.port}`, {
        maxSendHeaderBlockLength: 4 * MIB,
      });
      session.on('error', () => {});
      t.after(() => session.destroy());
      const stream = session.request(callHeaders(CLASSIFY, more));
      const answered = await new Promise((resolve) => {
        stream.on('response', resolve);
        stream.on('error', () => resolve(null));
        stream.on('close', () => resolve(null));
      });
      assert.equal(answered, null);
    }
    await isWell();
  });

  test('metadata beyond 16 KiB is rejected with a message', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    for (const path of [CLASSIFY, '/grpc.health.v1.Health/Check']) {
      const call = connection.beginPath(path, { 'x-filler': 'a'.repeat(20_000) });
      const { headers } = await call.ended;
      assert.deepEqual([headers['grpc-status'], reasonIn(headers)], ['3', 'REQUEST_MALFORMED']);
    }
    const large = connection.beginPath(CLASSIFY, { 'x-filler': 'a'.repeat(8_000) });
    large.write(framed({ image }));
    large.finish();
    assert.equal((await large.ended).headers['grpc-status'], '0');
    await isWell();
  });

  const malformed: readonly (readonly [string, ...Buffer[]])[] = [
    ['invalid HPACK', frame(FRAME.headers, END_HEADERS, 1, Buffer.alloc(200, 0xff))],
    ['DATA on the connection', frame(FRAME.data, 0, 0, Buffer.alloc(100))],
    ['DATA of a call that was never begun', frame(FRAME.data, 0, 7, Buffer.alloc(100))],
    [
      'a window that overflows',
      ...Array(3).fill(frame(FRAME.windowUpdate, 0, 0, Buffer.from([0x7f, 255, 255, 255]))),
    ],
    ['a window of nothing', frame(FRAME.windowUpdate, 0, 0, Buffer.alloc(4))],
    ['a PING of three bytes', frame(FRAME.ping, 0, 0, Buffer.alloc(3))],
    ['SETTINGS that are cut', frame(FRAME.settings, 0, 0, Buffer.alloc(5))],
    [
      'headers without a path',
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock({ ':method': 'POST' })),
    ],
    ['a frame of a type that there is not', frame(200, 255, 1, Buffer.alloc(100))],
    [
      'a frame longer than allowed',
      Buffer.concat([frame(FRAME.data, 0, 1, Buffer.alloc(200_000))]),
    ],
    [
      'an even call number',
      frame(FRAME.headers, END_HEADERS, 2, headerBlock(callHeaders(CLASSIFY))),
    ],
    ['a reset of a call that was never begun', frame(FRAME.resetStream, 0, 9, Buffer.alloc(4))],
    ['CONTINUATION of nothing', frame(FRAME.continuation, END_HEADERS, 1, Buffer.alloc(10))],
  ];
  test('survives malformed frames', async (t) => {
    for (const [, ...frames] of malformed) {
      const raw = await RawSocket.http2(t, server.port);
      await raw.send(...frames);
      raw.socket.end();
    }
    await isWell();
  });

  test('survives bytes that are not HTTP/2 at all', async (t) => {
    const raws = await Promise.all(
      [
        'GET / HTTP/1.1\r\nhost: x\r\n\r\n',
        '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
        '\0'.repeat(100_000),
      ].map(async (text) => {
        const raw = await RawSocket.open(t, server.port);
        await raw.send(Buffer.from(text, 'latin1'));
        return raw;
      }),
    );
    await Promise.all(raws.map(({ closed }) => closed));
    await isWell();
  });

  test('a message that inflates a hundredfold is rejected as too large', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const send = async (body: Buffer) => {
      const call = connection.begin('Classify', { encoding: 'gzip' });
      const prefix = Buffer.alloc(5);
      prefix.writeUInt8(1, 0);
      prefix.writeUInt32BE(body.length, 1);
      call.write(Buffer.concat([prefix, body]));
      call.finish();
      const { headers } = await call.ended;
      return [headers['grpc-status'], reasonIn(headers)];
    };
    const bomb = gzipSync(Buffer.alloc(100 * MIB));
    for (let time = 0; time < 5; time++)
      assert.deepEqual(await send(bomb), ['3', 'IMAGE_TOO_LARGE']);
    assert.deepEqual(await send(Buffer.from('no gzip')), ['3', 'REQUEST_MALFORMED']);
    assert.deepEqual(await send(Buffer.alloc(0)), ['3', 'REQUEST_MALFORMED']);
    await isWell();
  });

  test('bytes that are not a message are rejected as malformed', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const call = connection.begin('Classify');
    call.write(Buffer.from([0, 0, 0, 0, 3, 0x0a, 0xff, 0xff]));
    call.finish();
    const { headers } = await call.ended;
    assert.deepEqual([headers['grpc-status'], reasonIn(headers)], ['3', 'REQUEST_MALFORMED']);
    await isWell();
  });

  test('a message above the limit is rejected early, once, and counted as such', async () => {
    const tooLarge = { method: 'Classify', code: 'INVALID_ARGUMENT', reason: 'IMAGE_TOO_LARGE' };
    const before = await server.metric('vitserve_requests_total', tooLarge);
    const all = await server.metric('vitserve_requests_total', { method: 'Classify' });
    const retrying = new VitserveClient(server.address);
    const error = await retrying
      .classify({ image: Buffer.alloc(8 * MIB, 0xd8) })
      .catch((thrown: unknown) => thrown);
    retrying.close();
    assert(error instanceof VitserveError);
    assert.deepEqual([error.code, error.reason], ['INVALID_ARGUMENT', 'IMAGE_TOO_LARGE']);
    assert.match(error.message, new RegExp(`more bytes than the limit of ${MAX_IMAGE_BYTES}`));
    await server.metricIs('vitserve_requests_total', tooLarge, before + 1);
    assert.equal(
      await server.metric('vitserve_requests_total', { method: 'Classify' }),
      all + 1,
      'nothing was retried',
    );
    const stream = client.stream();
    stream.send('one', { image });
    await stream.count(1);
    stream.send('two', { image: Buffer.alloc(8 * MIB, 0xd8) });
    stream.send('three', { image });
    stream.finish();
    assert.equal(await stream.ended, null);
    const { status } = stream.byId().get('two') ?? {};
    assert.equal(status ? readDetails(status).reason : null, 'IMAGE_TOO_LARGE');
    assert.equal(stream.byId().get('three')?.result, 'response');
    await isWell();
  });

  test('streams of gzip bombs cost no memory, and each is answered by its id', async () => {
    const STREAMS = 4;
    const BOMBS = 25;
    const bombers = new PlainClient(scope, server.address, {
      'grpc.default_compression_algorithm': 2,
    });
    await Promise.all(
      Array.from({ length: STREAMS }, async () => {
        const stream = bombers.stream();
        const bomb = Buffer.alloc(16 * MIB);
        for (let at = 0; at < BOMBS; at++) stream.send(`bomb ${at}`, { image: bomb });
        stream.send('image', { image });
        stream.finish();
        assert.equal(await stream.ended, null);
        const results = stream.messages.map(({ result }) => result);
        assert.equal(results.filter((result) => result === 'status').length, BOMBS);
        assert.equal(stream.byId().get('image')?.result, 'response');
      }),
    );
    bombers.close();
    await isWell();
  });

  test('an upload far above the limit is reset, after less than 2 MB of 48', async (t) => {
    const tooLarge = Buffer.alloc(16_000_000, 0xd8);
    const farTooLarge = Buffer.alloc(32_000_000, 0xd8);
    const proxy = await countingProxy(t, server.port);
    const connection = await RawConnection.open(t, proxy.port);
    const unary = connection.begin('Classify');
    await unary.writeAll(framed({ image: tooLarge }));
    assert.equal(reasonIn((await unary.ended).headers), 'IMAGE_TOO_LARGE');

    const answered = await server.metric('vitserve_stream_images_total', { code: 'OK' });
    const stream = connection.begin('ClassifyStream');
    stream.write(
      framed({ requestId: '1', request: { image } }, 'vitserve.v1.ClassifyStreamRequest'),
    );
    await server.metricIs('vitserve_stream_images_total', { code: 'OK' }, answered + 1);
    await stream.writeAll(
      framed({ request: { image: farTooLarge } }, 'vitserve.v1.ClassifyStreamRequest'),
    );
    assert.equal(reasonIn((await stream.ended).headers), 'IMAGE_TOO_LARGE');
    t.diagnostic(`${proxy.bytesToServer()} bytes reached the server`);
    assert(proxy.bytesToServer() < 2_000_000, `${proxy.bytesToServer()} bytes reached the server`);
    await isWell();
  });

  test('a request about a model is short: one of a megabyte is rejected early', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const call = connection.begin('GetModel');
    call.write(Buffer.from([0, 0, 0x10, 0, 0]));
    const { headers } = await call.ended;
    assert.deepEqual([headers['grpc-status'], reasonIn(headers)], ['3', 'REQUEST_MALFORMED']);
    await isWell();
  });

  test('callers that send a byte at a time are ended, whatever they call', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const slow = [
      ...['Classify', 'Embed', 'ClassifyStream', 'GetModel'].map((method) =>
        connection.begin(method),
      ),
      connection.beginPath('/grpc.health.v1.Health/Check'),
      connection.beginPath('/grpc.health.v1.Health/Watch'),
    ];
    const message = framed({ image });
    let at = 0;
    const timer = setInterval(() => {
      for (const call of slow) call.write(message.subarray(at, at + 1));
      at++;
    }, 50);
    t.after(() => clearInterval(timer));
    for (const { ended } of slow) {
      const { headers, afterMs } = await ended;
      assert.deepEqual([headers['grpc-status'], reasonIn(headers)], ['4', 'UPLOAD_TIMEOUT']);
      assert(afterMs < UPLOAD_TIMEOUT_MS + 2_000, `after ${afterMs} ms`);
    }
    await server.metricIs('vitserve_uploads_in_flight', {}, 0);
    await isWell();
  });

  test('Watch on random names: a bounded number is open, the others are rejected', async (t) => {
    const counts = [MOST_WATCHES_OF_A_CONNECTION + 48, 48];
    const watchers = counts.map(
      () => new PlainClient(t, server.address, { 'grpc.use_local_subchannel_pool': 1 }),
    );
    let refused = 0;
    const open = watchers.flatMap((watcher, of) =>
      Array.from({ length: counts[of] ?? 0 }, (_, at) => {
        const watch = watcher.watch(`name-${of}-${at}-${'x'.repeat(500)}`);
        void watch.ended.then((failure) => {
          if (failure?.code === 'UNIMPLEMENTED') refused++;
        });
        return watch;
      }),
    );
    await eventually('those beyond the bound are refused', () => refused === 48);
    const told = () => open.filter(({ statuses }) => statuses[0] === 'SERVICE_UNKNOWN').length;
    await eventually('the others are open', () => told() === MOST_WATCHES_OF_A_CONNECTION + 48);
    assert.equal(await client.check(), 'SERVING');
    for (const watch of open) watch.cancel();
    await eventually('a new one gets in', async () => {
      const watch = watchers[0]?.watch('');
      const [first] = (await watch?.count(1).catch(() => [])) ?? [];
      watch?.cancel();
      return first?.status === 'SERVING';
    });
    await isWell();
  });

  test('an unknown method, and a call with an invalid deadline, are rejected', async (t) => {
    const connection = await RawConnection.open(t, server.port);
    const unknown = connection.begin('Nothing');
    unknown.finish();
    assert.equal((await unknown.ended).headers['grpc-status'], '12');
    const odd = connection.begin('Classify', { grpcTimeout: 'soon' });
    assert.deepEqual(reasonIn((await odd.ended).headers), 'REQUEST_MALFORMED');
    await isWell();
  });

  test('a deadline that passes is answered with its reason', async (t) => {
    const thaw = await server.freeze(t, 'inference');
    const connection = await RawConnection.open(t, server.port);
    const call = connection.begin('Classify', { grpcTimeout: '100m' });
    call.write(framed({ image }));
    call.finish();
    const { headers } = await call.ended;
    assert.deepEqual([headers['grpc-status'], reasonIn(headers)], ['4', 'DEADLINE_EXCEEDED']);
    thaw();
    assert.equal(
      (await failureOf(client.classify({ image: Buffer.alloc(0) }))).reason,
      'IMAGE_EMPTY',
    );
    await isWell();
  });
});

test('connections that grow old are replaced, and no call is lost by it', async (t) => {
  const server = await ServerProcess.start(t, [
    ...SIMULATED,
    ...['--permits', '64', '--max-connection-age', '300ms'],
  ]);
  const image = await plainPng([10, 200, 30]);
  // The library sends calls again that the server has not begun, unless told not to.
  const clients = [1, 2, 3].map(
    () => new PlainClient(t, server.address, { 'grpc.enable_retries': 1 }),
  );
  const until = performance.now() + 3_000;
  const answers = await Promise.all(
    clients.map(async (client, at) => {
      let answered = 0;
      for (; performance.now() < until; answered++) {
        assert.equal((await client.classify({ image })).predictions.length, 5);
        // The last one lets its connection grow old without a call now and then.
        if (at === 2 && answered % 5 === 4)
          await new Promise((resolve) => setTimeout(resolve, 400));
      }
      return answered;
    }),
  );
  t.diagnostic(`${answers.join(' + ')} calls`);
  await server.metricIs('vitserve_connections_in_use', {}, 0);
});

test('of two thousand connections the allowed number is open and answered', async (t) => {
  const server = await ServerProcess.start(t, [...SIMULATED, '--max-connections', '100']);
  const client = new PlainClient(t, server.address);
  const image = await plainPng([10, 200, 30]);
  await client.classify({ image });
  const raws: RawSocket[] = [];
  for (let opened = 0; opened < 2_000; opened += 100) {
    raws.push(
      ...(await Promise.all(Array.from({ length: 100 }, () => RawSocket.open(t, server.port)))),
    );
  }
  await eventually(
    'all others are closed',
    () => raws.filter(({ isClosed }) => !isClosed).length <= 99,
  );
  await server.metricIs('vitserve_connections_in_use', {}, 100);
  assert.equal(
    await server.metric('vitserve_connections_refused_total', { cause: 'limit' }),
    1_901,
  );
  assert.equal((await client.classify({ image })).predictions.length, 5);
});
