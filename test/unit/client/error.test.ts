/** What a client makes of a status from the server or the transport. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { status as grpcStatus, Metadata, type ServiceError } from '@grpc/grpc-js';
import { VitserveError } from '#vitserve/client/client.js';
import { messageType } from '#vitserve/contract/contract.js';
import { REASONS, type Reason, RequestError } from '#vitserve/errors.js';
import { toCallStatus } from '#vitserve/server/rpc/status.js';

/** The error that grpc-js gives a client for a status. */
function serviceError(status: { code: number; details: string; metadata: Metadata }): ServiceError {
  return Object.assign(new Error(`${status.code}: ${status.details}`), status);
}

describe('an error of the server', () => {
  for (const [reason, { status }] of Object.entries(REASONS)) {
    test(`with reason ${reason} arrives as ${status} with that reason`, () => {
      const sent = toCallStatus(new RequestError(reason as Reason, 'what is wrong'));
      const error = new VitserveError(serviceError(sent));
      assert.deepEqual(
        [error.code, error.reason, error.message],
        [status, reason, 'what is wrong'],
      );
    });
  }
});

describe('an error of the transport', () => {
  test('has a code and no reason, and the error of grpc-js is its cause', () => {
    const cause = serviceError({
      code: grpcStatus.UNAVAILABLE,
      details: 'no connection',
      metadata: new Metadata(),
    });
    const error = new VitserveError(cause);
    assert.deepEqual(
      [error.name, error.code, error.reason, error.message],
      ['VitserveError', 'UNAVAILABLE', '', 'no connection'],
    );
    assert.equal(error.cause, cause);
  });

  test('with a code that gRPC does not have is UNKNOWN', () => {
    const error = new VitserveError(
      serviceError({ code: 99, details: '', metadata: new Metadata() }),
    );
    assert.equal(error.code, 'UNKNOWN');
  });
});

test('details without an ErrorInfo give no reason', () => {
  const metadata = new Metadata();
  const value = messageType('google.rpc.RetryInfo').serialize({});
  const details = [{ type_url: 'type.googleapis.com/google.rpc.RetryInfo', value }];
  metadata.set(
    'grpc-status-details-bin',
    messageType('google.rpc.Status').serialize({ code: 14, details }),
  );
  assert.equal(new VitserveError(serviceError({ code: 14, details: 'full', metadata })).reason, '');
});
