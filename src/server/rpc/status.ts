/**
 * The only place where a failure becomes a gRPC status: it turns a RequestError of the closed table
 * (`errors.ts`) into code, message and details.
 *
 * Every status carries `google.rpc.ErrorInfo`. Bad input also has `BadRequest`. Retryable errors
 * also have `RetryInfo`, and the `grpc-retry-pushback-ms` that client libraries obey (gRFC A6).
 * Messages are cut at MAX_MESSAGE_BYTES, because clients limit the size of trailers.
 */
import { status as grpcStatus, Metadata } from '@grpc/grpc-js';
import { ERROR_DOMAIN, messageType } from '../../contract/contract.js';
import type {
  BadRequest,
  BadRequest__Output,
} from '../../contract/generated/google/rpc/BadRequest.js';
import type {
  ErrorInfo,
  ErrorInfo__Output,
} from '../../contract/generated/google/rpc/ErrorInfo.js';
import type {
  RetryInfo,
  RetryInfo__Output,
} from '../../contract/generated/google/rpc/RetryInfo.js';
import type { Status, Status__Output } from '../../contract/generated/google/rpc/Status.js';
import { describeReason, type Reason, RequestError } from '../../errors.js';
import { type CallEnding, meaningOf } from '../workarounds/base-call.js';

/** Metadata key with which a failed call can be found in the log. */
const REQUEST_ID_KEY = 'x-request-id';
const MAX_MESSAGE_BYTES = 1000;
/** For a retryable error that names no delay. */
const DEFAULT_RETRY_MS = 100;

export interface CallStatus {
  readonly code: grpcStatus;
  readonly details: string;
  readonly metadata: Metadata;
}

const reasons = new WeakMap<Metadata, Reason>();

/** The reason of a status that `toCallStatus` made; undefined for one that grpc-js made. */
export function reasonOf(metadata: Metadata | null | undefined): Reason | undefined {
  return metadata ? reasons.get(metadata) : undefined;
}

/** The status of a call that fails with this error. */
export function toCallStatus(error: RequestError): CallStatus {
  const status = toRpcStatus(error);
  const metadata = new Metadata();
  metadata.set(
    'grpc-status-details-bin',
    messageType<Status, Status__Output>('google.rpc.Status').serialize(status),
  );
  const retryAfterMs = retryDelay(error);
  if (retryAfterMs !== null) metadata.set('grpc-retry-pushback-ms', String(retryAfterMs));
  reasons.set(metadata, error.reason);
  return { code: status.code, details: status.message, metadata };
}

/** Whether grpc-js made this status itself, because of what the caller sent. */
export function isOfTransport({ code, metadata }: CallEnding): boolean {
  const isOwn = reasonOf(metadata) !== undefined;
  return code !== grpcStatus.OK && code !== grpcStatus.DEADLINE_EXCEEDED && !isOwn;
}

/**
 * Replaces a status of grpc-js by that of the error table, where the table has one. `maxImageBytes`
 * is null for calls without images.
 */
export function withReason(status: CallEnding, maxImageBytes: number | null): CallEnding {
  const { code, details, metadata } = status;
  if (code === grpcStatus.OK || reasonOf(metadata) !== undefined) return status;
  if (code === grpcStatus.DEADLINE_EXCEEDED)
    return toCallStatus(new RequestError('DEADLINE_EXCEEDED', 'the deadline passed'));
  const meaning = meaningOf(details);
  if (meaning === 'too-large' && maxImageBytes !== null) {
    const limit = `the image has more bytes than the limit of ${maxImageBytes}`;
    return toCallStatus(new RequestError('IMAGE_TOO_LARGE', `${limit}: send a smaller file`));
  }
  if (meaning === null) return status;
  const text = `the request can't be read: ${details}`;
  return toCallStatus(new RequestError('REQUEST_MALFORMED', text));
}

/** Adds the request id, by which the call can be found in the log. */
export function withRequestId(status: CallEnding, requestId: string): CallEnding {
  const metadata = status.metadata ?? new Metadata();
  metadata.set(REQUEST_ID_KEY, requestId);
  return { ...status, metadata };
}

/** The status as data, as an image of a stream carries it. */
export function toRpcStatus(error: RequestError): Status & { code: grpcStatus; message: string } {
  const { status, field: defaultField } = describeReason(error.reason);
  const field = error.field ?? defaultField;
  const message = cut(error.message);
  const info = { reason: error.reason, domain: ERROR_DOMAIN };
  const details = [pack<ErrorInfo, ErrorInfo__Output>('google.rpc.ErrorInfo', info)];
  if (field !== undefined) {
    const fieldViolations = [{ field, description: message }];
    details.push(
      pack<BadRequest, BadRequest__Output>('google.rpc.BadRequest', { fieldViolations }),
    );
  }
  const retryAfterMs = retryDelay(error);
  if (retryAfterMs !== null) {
    const retryDelay = {
      seconds: Math.floor(retryAfterMs / 1000),
      nanos: (retryAfterMs % 1000) * 1e6,
    };
    details.push(pack<RetryInfo, RetryInfo__Output>('google.rpc.RetryInfo', { retryDelay }));
  }
  return { code: grpcStatus[status], message, details };
}

function retryDelay(error: RequestError): number | null {
  if (describeReason(error.reason).retryable !== true) return null;
  return Math.round(error.retryAfterMs ?? DEFAULT_RETRY_MS);
}

function pack<Input extends object, Output extends object>(
  name: string,
  message: Input,
): { type_url: string; value: Buffer } {
  return {
    type_url: `type.googleapis.com/${name}`,
    value: messageType<Input, Output>(name).serialize(message),
  };
}

function cut(message: string): string {
  if (Buffer.byteLength(message) <= MAX_MESSAGE_BYTES) return message;
  // The cut may split the last character; the ellipsis replaces it.
  return `${Buffer.from(message)
    .subarray(0, MAX_MESSAGE_BYTES - 3)
    .toString()
    .replace(/\uFFFD+$/, '')}…`;
}
