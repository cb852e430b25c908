/**
 * The meaning of a call's `grpc-timeout`, sent by hand: every unit, values beyond any timer, and
 * invalid ones.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { ImageRequest } from '#vitserve/server/pipeline/pipeline.js';
import { framed, RawConnection, reasonIn } from '../support/raw-call.js';
import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  headerBlock,
  RawSocket,
} from '../support/raw-http2.js';
import { ANSWER, RpcStand, STREAM_REQUEST } from '../support/rpc-stand.js';
import { eventually, suiteScope } from '../support/server.js';

const image = Buffer.from('an image');

describe('a grpc-timeout', () => {
  const scope = suiteScope();
  /** Milliseconds left of each image's deadline. */
  const left: number[] = [];
  let stand: RpcStand;
  let connection: RawConnection;

  before(async () => {
    const answer = async ({ record }: ImageRequest) => {
      left.push(record.expiresAt - record.admittedAt);
      return ANSWER;
    };
    stand = await RpcStand.open(scope, { answer });
    connection = await RawConnection.open(scope, stand.port);
  });

  const METHODS = ['Classify', 'ClassifyStream', 'GetModel'] as const;
  const MESSAGES = {
    Classify: framed({ image }),
    ClassifyStream: framed({ requestId: '1', request: { image } }, STREAM_REQUEST),
    GetModel: framed({ model: '' }, 'vitserve.v1.GetModelRequest'),
  };

  const callWith = async (method: (typeof METHODS)[number], grpcTimeout: string) => {
    const call = connection.begin(method, { grpcTimeout });
    call.write(MESSAGES[method]);
    call.finish();
    const { headers } = await call.ended;
    return {
      code: headers['grpc-status'],
      reason: reasonIn(headers),
      text: String(headers['grpc-message']),
    };
  };

  // 4294968S is 2³² ms and a little, 2147484S and 2147483648m are 2³¹ ms and a little.
  const NONE = [
    '99999999H',
    '600H',
    '720H',
    '1194H',
    '4294968S',
    '2147484S',
    '35792M',
    '99999999M',
    '99999999S',
  ];
  const KEPT: Readonly<Record<string, number>> = {
    '576H': 576 * 3_600_000,
    '596H': 596 * 3_600_000,
    '35791M': 35_791 * 60_000,
    '2147483S': 2_147_483_000,
    '99999999m': 99_999_999,
    '20S': 20_000,
    '99999999u': 99_999,
  };

  for (const method of METHODS) {
    test(`of more than 24.8 days means no deadline for ${method}`, async () => {
      for (const grpcTimeout of NONE) {
        const { code } = await callWith(method, grpcTimeout);
        assert.equal(code, String(status.OK), grpcTimeout);
        if (method !== 'GetModel') assert.equal(left.at(-1), Number.POSITIVE_INFINITY, grpcTimeout);
      }
    });

    test(`of less is kept by ${method}`, async () => {
      for (const [grpcTimeout, milliseconds] of Object.entries(KEPT)) {
        const { code } = await callWith(method, grpcTimeout);
        assert.equal(code, String(status.OK), grpcTimeout);
        if (method === 'GetModel') continue;
        const given = left.at(-1) ?? 0;
        assert(
          given > milliseconds - 10_000 && given <= milliseconds + 1,
          `${grpcTimeout}: ${given} ms are left`,
        );
      }
    });

    test(`that is over on arrival ends ${method} before anything is done`, async () => {
      const done = left.length;
      for (const grpcTimeout of ['0S', '0H', '0n', '1n', '99999999n', '999u', '1u']) {
        const ending = await callWith(method, grpcTimeout);
        if (grpcTimeout === '99999999n')
          assert.equal(ending.code, String(status.OK), 'a tenth of a second');
        else {
          const expected = [String(status.DEADLINE_EXCEEDED), 'DEADLINE_EXCEEDED'];
          assert.deepEqual([ending.code, ending.reason], expected, grpcTimeout);
        }
      }
      assert.equal(left.length, done + (method === 'GetModel' ? 0 : 1));
    });

    test(`that is invalid ends ${method} with REQUEST_MALFORMED, which says so`, async () => {
      const values = [
        '',
        'S',
        '5',
        '5s',
        '5 S',
        '-1S',
        '+1S',
        '1.5S',
        '123456789S',
        '5Sx',
        'x5S',
        '1S, 2S',
        'H',
      ];
      for (const grpcTimeout of values) {
        const { code, reason, text } = await callWith(method, grpcTimeout);
        assert.deepEqual(
          [code, reason],
          [String(status.INVALID_ARGUMENT), 'REQUEST_MALFORMED'],
          `"${grpcTimeout}"`,
        );
        assert.match(
          decodeURIComponent(text),
          /^grpc-timeout is ".*": send one to eight digits and a unit/,
        );
      }
    });
  }

  test('that is long is shown in part', async () => {
    const { text } = await callWith('GetModel', 'x'.repeat(5_000));
    assert(text.length < 500, text);
  });

  test('in unusual frames is read as written, and ignored if there are two', async (t) => {
    const raw = await RawSocket.http2(t, stand.port);
    const endedBefore = stand.ended.length;
    const call = (id: number, timeouts: readonly string[]) => {
      const blocks = timeouts.map((timeout) => headerBlock({ 'grpc-timeout': timeout }));
      const headers = [
        headerBlock(callHeaders('/vitserve.v1.ClassificationService/GetModel')),
        ...blocks,
      ];
      return Buffer.concat([
        frame(FRAME.headers, END_HEADERS, id, Buffer.concat(headers)),
        frame(FRAME.data, END_STREAM, id, MESSAGES.GetModel),
      ]);
    };
    for (const [id, timeouts] of [['600H'], ['1H', '2H'], ['1H']].entries()) {
      await raw.send(call(2 * id + 1, timeouts));
      await eventually('the call has ended', () => stand.ended.length === endedBefore + id + 1);
    }
    assert.deepEqual(stand.ended.slice(-3), [
      'GetModel OK',
      'GetModel INVALID_ARGUMENT REQUEST_MALFORMED',
      'GetModel OK',
    ]);
  });
});
