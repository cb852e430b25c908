/** What a caller sees of a failure, read back as a client reads it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { status as grpcStatus, Metadata } from '@grpc/grpc-js';
import { messageType } from '#vitserve/contract/contract.js';
import type { BadRequest__Output } from '#vitserve/contract/generated/google/rpc/BadRequest.js';
import type { ErrorInfo__Output } from '#vitserve/contract/generated/google/rpc/ErrorInfo.js';
import type { RetryInfo__Output } from '#vitserve/contract/generated/google/rpc/RetryInfo.js';
import type { Status__Output } from '#vitserve/contract/generated/google/rpc/Status.js';
import { REASONS, type Reason, RequestError, toRequestError } from '#vitserve/errors.js';
import { reasonOf, toCallStatus, toRpcStatus } from '#vitserve/server/rpc/status.js';

interface Seen {
  readonly code: string;
  readonly message: string;
  readonly pushback: string | undefined;
  readonly info: ErrorInfo__Output | undefined;
  readonly badRequest: BadRequest__Output | undefined;
  readonly retryInfo: RetryInfo__Output | undefined;
  readonly detailCount: number;
}

/** The status of a failed call and its details, as they are on the wire. */
function see(error: RequestError): Seen {
  const { code, details: message, metadata } = toCallStatus(error);
  const [bytes] = metadata.get('grpc-status-details-bin');
  assert.ok(Buffer.isBuffer(bytes));
  const status = messageType<object, Status__Output>('google.rpc.Status').deserialize(bytes);
  assert.deepEqual([status.code, status.message], [code, message], 'the details repeat the status');
  const detail = <T extends object>(name: string): T | undefined => {
    const found = status.details.find(({ type_url }) => type_url === `type.googleapis.com/${name}`);
    return found && messageType<object, T>(name).deserialize(found.value);
  };
  return {
    code: grpcStatus[code],
    message,
    pushback: metadata.get('grpc-retry-pushback-ms')[0]?.toString(),
    info: detail<ErrorInfo__Output>('google.rpc.ErrorInfo'),
    badRequest: detail<BadRequest__Output>('google.rpc.BadRequest'),
    retryInfo: detail<RetryInfo__Output>('google.rpc.RetryInfo'),
    detailCount: status.details.length,
  };
}

/** What callers rely on: reason, code, the field at fault, whether a retry may help. */
const EXPECTED: Readonly<
  Record<Reason, readonly [code: string, field: string | null, retryable: boolean]>
> = {
  IMAGE_EMPTY: ['INVALID_ARGUMENT', 'image', false],
  IMAGE_TOO_LARGE: ['INVALID_ARGUMENT', 'image', false],
  IMAGE_UNSUPPORTED: ['INVALID_ARGUMENT', 'image', false],
  IMAGE_UNDECODABLE: ['INVALID_ARGUMENT', 'image', false],
  IMAGE_QUARANTINED: ['INVALID_ARGUMENT', 'image', false],
  TOP_K_OUT_OF_RANGE: ['INVALID_ARGUMENT', 'top_k', false],
  DIMENSIONS_OUT_OF_RANGE: ['INVALID_ARGUMENT', 'dimensions', false],
  REQUEST_MISSING: ['INVALID_ARGUMENT', 'request', false],
  PAGE_INVALID: ['INVALID_ARGUMENT', 'page_token', false],
  REQUEST_MALFORMED: ['INVALID_ARGUMENT', null, false],
  MODEL_UNKNOWN: ['NOT_FOUND', 'model', false],
  EMBEDDING_UNSUPPORTED: ['FAILED_PRECONDITION', null, false],
  TOKEN_INVALID: ['UNAUTHENTICATED', null, false],
  OVERLOADED: ['RESOURCE_EXHAUSTED', null, true],
  DEADLINE_UNREACHABLE: ['RESOURCE_EXHAUSTED', null, true],
  UPLOAD_TIMEOUT: ['DEADLINE_EXCEEDED', null, false],
  STARTING: ['UNAVAILABLE', null, true],
  DRAINING: ['UNAVAILABLE', null, true],
  PROCESS_LOST: ['UNAVAILABLE', null, true],
  DEADLINE_EXCEEDED: ['DEADLINE_EXCEEDED', null, false],
  CANCELLED: ['CANCELLED', null, false],
  INTERNAL: ['INTERNAL', null, false],
};

describe('every reason', () => {
  for (const [reason, [code, field, retryable]] of Object.entries(EXPECTED) as [
    Reason,
    (typeof EXPECTED)[Reason],
  ][]) {
    test(`${reason} is ${code}${retryable ? ', worth a retry' : ''}${field === null ? '' : `, at fault is ${field}`}`, () => {
      const seen = see(new RequestError(reason, 'what is wrong', { retryAfterMs: 2_250 }));
      assert.equal(seen.code, code);
      assert.equal(seen.message, 'what is wrong');
      assert.deepEqual({ ...seen.info }, { reason, domain: 'vitserve.v1', metadata: {} });
      assert.deepEqual(
        seen.badRequest?.fieldViolations.map((violation) => ({ ...violation })),
        field === null ? undefined : [{ field, description: 'what is wrong' }],
      );
      assert.equal(seen.pushback, retryable ? '2250' : undefined);
      const delay = seen.retryInfo?.retryDelay;
      assert.deepEqual(
        [delay?.seconds, delay?.nanos],
        retryable ? [2, 250_000_000] : [undefined, undefined],
      );
      assert.equal(seen.detailCount, 1 + (field === null ? 0 : 1) + (retryable ? 1 : 0));
    });
  }

  test('is in the table above, and none besides', () => {
    assert.deepEqual(Object.keys(REASONS).sort(), Object.keys(EXPECTED).sort());
  });
});

describe('the pushback', () => {
  test('is 100 ms by default', () => {
    const { pushback, retryInfo } = see(new RequestError('PROCESS_LOST', 'lost'));
    assert.equal(pushback, '100');
    assert.deepEqual(
      [retryInfo?.retryDelay?.seconds, retryInfo?.retryDelay?.nanos],
      [0, 100_000_000],
    );
  });

  test('is a whole number of milliseconds', () => {
    assert.equal(
      see(new RequestError('OVERLOADED', 'full', { retryAfterMs: 12.6 })).pushback,
      '13',
    );
  });

  test('of nothing means at once', () => {
    const { pushback, retryInfo } = see(
      new RequestError('OVERLOADED', 'full', { retryAfterMs: 0 }),
    );
    assert.deepEqual([pushback, retryInfo?.retryDelay?.nanos], ['0', 0]);
  });
});

describe('the message', () => {
  const messageFor = (text: string) => see(new RequestError('IMAGE_UNDECODABLE', text)).message;

  test('of up to 1000 bytes is left as it is', () => {
    assert.equal(messageFor('x'.repeat(1_000)), 'x'.repeat(1_000));
    assert.equal(messageFor('é'.repeat(500)), 'é'.repeat(500));
  });

  test('is cut to 1000 bytes, an ellipsis included', () => {
    assert.equal(messageFor('x'.repeat(1_001)), `${'x'.repeat(997)}…`);
  });

  for (const character of ['é', '画', '🦊']) {
    test(`is never cut within a character: ${character}`, () => {
      for (const before of ['', 'a', 'ab', 'abc']) {
        const text = before + character.repeat(400 + 200);
        const cut = messageFor(text);
        assert.ok(Buffer.byteLength(cut) <= 1_000 && Buffer.byteLength(cut) > 990);
        assert.ok(cut.endsWith('…') && text.startsWith(cut.slice(0, -1)));
      }
    });
  }
});

describe('a fault of the server', () => {
  const SECRET = 'ENOENT: /etc/secret.key';

  test('is INTERNAL, and its cause stays off the wire', () => {
    for (const thrown of [
      new Error(SECRET),
      SECRET,
      { message: SECRET },
      null,
      undefined,
      new AggregateError([SECRET]),
    ]) {
      const error = toRequestError(thrown);
      const { code, details, metadata } = toCallStatus(error);
      assert.equal(code, grpcStatus.INTERNAL);
      assert.equal(details, 'internal error: see the log of the server');
      const wire = [
        details,
        ...metadata.get('grpc-status-details-bin').map(String),
        JSON.stringify(metadata.getMap()),
      ];
      assert.ok(!wire.join().includes('secret'));
    }
  });

  test('keeps the cause of an error of the table off the wire too', () => {
    const error = new RequestError('PROCESS_LOST', 'lost', { cause: new Error(SECRET) });
    const { details, metadata } = toCallStatus(error);
    assert.ok(
      ![details, ...metadata.get('grpc-status-details-bin').map(String)].join().includes('secret'),
    );
  });
});

test('an image of a stream gets the same status as data', () => {
  const error = new RequestError('OVERLOADED', 'full', { retryAfterMs: 30 });
  const { code, message, details } = toRpcStatus(error);
  assert.deepEqual([code, message], [grpcStatus.RESOURCE_EXHAUSTED, 'full']);
  assert.deepEqual(
    details?.map((detail) => ('type_url' in detail ? detail.type_url : '')),
    ['type.googleapis.com/google.rpc.ErrorInfo', 'type.googleapis.com/google.rpc.RetryInfo'],
  );
});

test('the reason behind a status is found by its metadata, and none behind a status of the transport’s own', () => {
  assert.equal(
    reasonOf(toCallStatus(new RequestError('DRAINING', 'stopping')).metadata),
    'DRAINING',
  );
  assert.equal(reasonOf(new Metadata()), undefined);
  assert.equal(reasonOf(null), undefined);
  assert.equal(reasonOf(undefined), undefined);
});
