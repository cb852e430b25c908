/**
 * How calls end, above all when the server stops and whatever their clients do: every accepted
 * image is answered before the status, nothing is written after it, and the status is sent and the
 * call closed although the client has not ended its side.
 *
 * A window of zero bytes keeps answers on the server's side, so that a test can act between an
 * answer and its transmission.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { ImageRequest } from '#vitserve/server/pipeline/pipeline.js';
import type { InferenceOutput } from '#vitserve/workers/inference/messages.js';
import { PlainClient, type StreamResponse } from '../support/grpc-client.js';
import { framed, messagesIn, type RawCall, RawConnection, reasonIn } from '../support/raw-call.js';
import { ANSWER, RpcStand, STREAM_REQUEST, STREAM_RESPONSE } from '../support/rpc-stand.js';
import { eventually, OwnScope } from '../support/server.js';

/** Far above the time of an undisturbed stop. */
const STOP_MS = 10_000;
const WINDOW_BYTES = 65_535;
const image = Buffer.from('an image');

const numbered = (requestId: string) => framed({ requestId, request: { image } }, STREAM_REQUEST);
const idsIn = (body: Buffer) =>
  (messagesIn(body, STREAM_RESPONSE) as StreamResponse[]).map(({ requestId }) => requestId);
const endingOf = async (call: RawCall) => {
  const { headers } = await call.ended;
  return [headers['grpc-status'], reasonIn(headers)];
};
const DRAINING = [String(status.UNAVAILABLE), 'DRAINING'];
const EXPIRED = String(status.DEADLINE_EXCEEDED);

/** A pipeline in which images wait until they are released, in order of arrival. */
class Gate {
  readonly #waiting: (() => void)[] = [];

  readonly answer = (_request: ImageRequest): Promise<InferenceOutput> =>
    new Promise((resolve) => this.#waiting.push(() => resolve(ANSWER)));

  get waiting(): number {
    return this.#waiting.length;
  }

  letGo(count = this.#waiting.length): void {
    for (const go of this.#waiting.splice(0, count)) go();
  }
}

describe('a stream when the server stops', () => {
  test('ends with DRAINING if a message comes while the last answer is unsent', async (t) => {
    const stand = await RpcStand.open(t);
    const connection = await RawConnection.open(t, stand.port, { windowBytes: 0 });
    const stream = connection.begin('ClassifyStream');
    stream.write(numbered('before'));
    await eventually('the image is answered', () => stand.images.length === 1);
    const stopped = stand.stop(STOP_MS);
    stream.write(numbered('between'));
    await connection.ping();
    await connection.setWindow(WINDOW_BYTES);
    assert.deepEqual(await endingOf(stream), DRAINING);
    assert.deepEqual(idsIn(await stream.body), ['before']);
    assert.equal(await stream.closed, constants.NGHTTP2_NO_ERROR);
    assert.equal(await stopped, true, 'the call ended by itself');
    assert.deepEqual(stand.ended, ['ClassifyStream UNAVAILABLE DRAINING']);
  });

  test('gets its answers and is then closed, though its client never ends its side', async (t) => {
    const gate = new Gate();
    const stand = await RpcStand.open(t, gate);
    const connection = await RawConnection.open(t, stand.port);
    const [fresh, used] = [connection.begin('ClassifyStream'), connection.begin('ClassifyStream')];
    for (const id of ['1', '2', '3']) used.write(numbered(id));
    await eventually('all images are being worked on', () => gate.waiting === 3);
    // Half of a message, whose rest never comes.
    used.write(numbered('4').subarray(0, 9));
    await connection.ping();
    const stopped = stand.stop(STOP_MS);
    assert.deepEqual(await endingOf(fresh), DRAINING);
    gate.letGo();
    assert.deepEqual(await endingOf(used), DRAINING);
    assert.deepEqual(idsIn(await used.body), ['1', '2', '3']);
    assert.deepEqual(
      [await fresh.closed, await used.closed],
      [constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_NO_ERROR],
    );
    assert.equal(await stopped, true);
  });

  test('ends with OK if its client had ended its side before, and all is answered', async (t) => {
    const gate = new Gate();
    const stand = await RpcStand.open(t, gate);
    const connection = await RawConnection.open(t, stand.port);
    const stream = connection.begin('ClassifyStream');
    stream.write(numbered('1'));
    stream.finish();
    await eventually('the image is being worked on', () => gate.waiting === 1);
    await connection.ping();
    const stopped = stand.stop(STOP_MS);
    gate.letGo();
    assert.deepEqual(await endingOf(stream), [String(status.OK), null]);
    assert.equal(await stopped, true);
  });

  test('is aborted with DRAINING if an image is not answered in time', async (t) => {
    const gate = new Gate();
    const stand = await RpcStand.open(t, gate);
    const connection = await RawConnection.open(t, stand.port);
    const stream = connection.begin('ClassifyStream');
    stream.write(numbered('1'));
    await eventually('the image is being worked on', () => gate.waiting === 1);
    const stopped = stand.stop(100);
    assert.deepEqual(await endingOf(stream), DRAINING);
    // Too late: nothing more may be written.
    gate.letGo();
    assert.equal(await stopped, false);
    assert.deepEqual(stand.ended, ['ClassifyStream UNAVAILABLE DRAINING']);
  });

  test('whose client does not read ends with its connection after the drain time', async (t) => {
    const stand = await RpcStand.open(t);
    const connection = await RawConnection.open(t, stand.port, { windowBytes: 0 });
    const stream = connection.begin('ClassifyStream');
    stream.write(numbered('1'));
    await eventually('the image is answered', () => stand.images.length === 1);
    assert.equal(await stand.stop(100), false);
    await stream.closed;
    await eventually('the connection is closed', () => connection.closed);
  });
});

describe('other calls when the server stops', () => {
  test('do not delay it by being incomplete, or by staying open', async (t) => {
    const stand = await RpcStand.open(t, { reflection: true });
    const connection = await RawConnection.open(t, stand.port);
    const question = connection.begin('GetModel');
    question.write(framed({ model: '' }, 'vitserve.v1.GetModelRequest'));
    const watch = connection.beginPath('/grpc.health.v1.Health/Watch');
    const reflection = connection.beginPath(
      '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    );
    await connection.ping();
    const stopped = stand.stop(STOP_MS);
    for (const call of [question, watch, reflection]) {
      assert.deepEqual(await endingOf(call), DRAINING);
      await call.closed;
    }
    assert.equal(await stopped, true);
  });

  test('with an image in work are answered, or aborted with DRAINING', async (t) => {
    for (const inTime of [true, false]) {
      const gate = new Gate();
      const stand = await RpcStand.open(t, gate);
      const connection = await RawConnection.open(t, stand.port);
      const call = connection.begin('Classify');
      call.write(framed({ image }));
      call.finish();
      await eventually('the image is being worked on', () => gate.waiting === 1);
      const stopped = stand.stop(inTime ? STOP_MS : 100);
      if (inTime) gate.letGo();
      assert.deepEqual(await endingOf(call), inTime ? [String(status.OK), null] : DRAINING);
      gate.letGo();
      assert.equal(await stopped, inTime);
      assert.equal(stand.ended.length, 1);
    }
  });
});

describe('a request that is sent but not ended', () => {
  test('ends with UPLOAD_TIMEOUT', async (t) => {
    const stand = await RpcStand.open(t, { uploadTimeoutMs: 100 });
    const connection = await RawConnection.open(t, stand.port);
    const question = connection.begin('GetModel');
    question.write(framed({ model: '' }, 'vitserve.v1.GetModelRequest'));
    assert.deepEqual(await endingOf(question), [EXPIRED, 'UPLOAD_TIMEOUT']);
    await question.closed;
  });
});

describe('a deadline that passes while answers wait for their client', () => {
  test('is reported after them, though another image is answered meanwhile', async (t) => {
    const gate = new Gate();
    const stand = await RpcStand.open(t, gate);
    const connection = await RawConnection.open(t, stand.port, { windowBytes: 0 });
    const stream = connection.begin('ClassifyStream', { grpcTimeout: '500m' });
    for (const id of ['in time', 'late']) stream.write(numbered(id));
    await eventually('both images are being worked on', () => gate.waiting === 2);
    gate.letGo(1);
    await eventually('the deadline has passed', () => stand.ended.length === 1);
    gate.letGo();
    await eventually('the other image is answered', () => stand.images.length === 2);
    await connection.setWindow(WINDOW_BYTES);
    assert.equal((await stream.ended).headers['grpc-status'], EXPIRED);
    assert.deepEqual(idsIn(await stream.body), ['in time']);
    assert.equal(await stream.closed, constants.NGHTTP2_NO_ERROR);
    assert.deepEqual(stand.ended, ['ClassifyStream DEADLINE_EXCEEDED DEADLINE_EXCEEDED']);
  });

  test('is reported to a Watch, though its status changes meanwhile', async (t) => {
    const stand = await RpcStand.open(t);
    const connection = await RawConnection.open(t, stand.port, { windowBytes: 0 });
    const watch = connection.beginPath('/grpc.health.v1.Health/Watch', { 'grpc-timeout': '200m' });
    watch.write(framed({ service: '' }, 'grpc.health.v1.HealthCheckRequest'));
    watch.finish();
    await eventually('the deadline has passed', () => stand.ended.length === 1);
    stand.server.health.show(new Map([['', true]]));
    await connection.setWindow(WINDOW_BYTES);
    assert.equal((await watch.ended).headers['grpc-status'], EXPIRED);
    assert.equal(await watch.closed, constants.NGHTTP2_NO_ERROR);
  });
});

describe('a stream that can’t be read on', () => {
  const broken: readonly {
    name: string;
    bytes: Buffer;
    encoding?: string;
    ending: readonly (string | null)[];
  }[] = [
    {
      name: 'bytes that are no message',
      bytes: Buffer.from([0, 0, 0, 0, 1, 0x0f]),
      ending: [String(status.INVALID_ARGUMENT), 'REQUEST_MALFORMED'],
    },
    {
      name: 'bytes that do not unfold',
      bytes: Buffer.from([1, 0, 0, 0, 3, 1, 2, 3]),
      encoding: 'gzip',
      ending: [String(status.INVALID_ARGUMENT), 'REQUEST_MALFORMED'],
    },
    {
      name: 'a compression that is not known',
      bytes: Buffer.from([1, 0, 0, 0, 3, 1, 2, 3]),
      encoding: 'zstd',
      ending: [String(status.UNIMPLEMENTED), null],
    },
    {
      name: 'a message that does not come to its end',
      bytes: Buffer.from([0, 0, 0, 0, 9, 1]),
      ending: [EXPIRED, 'UPLOAD_TIMEOUT'],
    },
  ];

  for (const { name, bytes, encoding, ending } of broken) {
    test(`for ${name} is first answered what came before`, async (t) => {
      const gate = new Gate();
      const stand = await RpcStand.open(t, { answer: gate.answer, uploadTimeoutMs: 100 });
      const connection = await RawConnection.open(t, stand.port);
      const stream = connection.begin('ClassifyStream', encoding === undefined ? {} : { encoding });
      for (const id of ['1', '2']) stream.write(numbered(id));
      await eventually('the images are being worked on', () => gate.waiting === 2);
      stream.write(bytes);
      // By the time a message that begins after it has timed out, it has too.
      const later = connection.begin('ClassifyStream');
      later.write(Buffer.from([0, 0, 0, 0, 9, 1]));
      assert.deepEqual(await endingOf(later), [EXPIRED, 'UPLOAD_TIMEOUT']);
      gate.letGo();
      assert.deepEqual(await endingOf(stream), ending);
      assert.deepEqual(idsIn(await stream.body), ['1', '2']);
      assert.deepEqual(await stream.closed, constants.NGHTTP2_NO_ERROR);
    });
  }
});

describe('forty stops amid streams', () => {
  const STOPS = 40;
  const STREAMS = 2;

  test('all end well below their limit, with every image or its stream answered', async (t) => {
    const totals = { sent: 0, answered: 0, told: 0 };
    for (let stop = 0; stop < STOPS; stop++) {
      const scope = new OwnScope();
      t.after(() => scope.end());
      const answer = () =>
        new Promise<InferenceOutput>((resolve) =>
          setTimeout(() => resolve(ANSWER), Math.random() * 3),
        );
      const stand = await RpcStand.open(scope, { answer });
      const client = new PlainClient(scope, `127.0.0.1:${stand.port}`);
      const streams = Array.from({ length: STREAMS }, () => {
        const stream = client.stream();
        const sent: string[] = [];
        const timer = setInterval(() => {
          sent.push(String(sent.length));
          stream.send(String(sent.length - 1), { image });
        }, 1);
        void stream.ended.then(() => clearInterval(timer));
        return { stream, sent };
      });
      // The clients of these never end anything by themselves.
      const raw = await RawConnection.open(scope, stand.port);
      const silent = Array.from({ length: 2 }, () => raw.begin('ClassifyStream'));
      for (const call of silent) call.write(numbered('silent'));
      await Promise.all(streams.map(({ stream }) => stream.count(3 + (stop % 5))));
      assert.equal(await stand.stop(STOP_MS), true, `stop ${stop} was held up`);
      for (const call of silent) assert.deepEqual(await endingOf(call), DRAINING);
      for (const { stream, sent } of streams) {
        const ending = await stream.ended;
        assert.deepEqual([ending?.code, ending?.reason], ['UNAVAILABLE', 'DRAINING']);
        const ids = stream.messages.map(({ requestId }) => requestId);
        assert.equal(new Set(ids).size, ids.length, 'no image is answered twice');
        assert(
          stream.messages.every(({ result }) => result === 'response'),
          'what was taken is answered',
        );
        totals.sent += sent.length;
        totals.answered += ids.length;
        totals.told += sent.length - ids.length;
      }
      const taken = stand.images.length - silent.length;
      assert.equal(
        taken,
        streams.reduce((sum, { stream }) => sum + stream.messages.length, 0),
        'no answer was lost',
      );
      await scope.end();
    }
    t.diagnostic(`${STOPS} stops: ${JSON.stringify(totals)}`);
  });
});
