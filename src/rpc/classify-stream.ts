/**
 * One ClassifyStream call: images in, answers out as they finish, backpressure instead of refusals.
 *
 * What holds: at most one image of a stream waits for a permit, and nothing further is read before it has one; while the
 * caller does not read its answers nothing further is read either; an error in an image is its own answer; the call ends
 * when the caller has ended its side (or the server drains) and everything read has been answered.
 */
import { once, setMaxListeners } from 'node:events';
import { status as grpcStatus, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../clock.js';
import type { ClassifyRequest__Output } from '../contract/generated/vitserve/v1/ClassifyRequest.js';
import type { ClassifyResponse } from '../contract/generated/vitserve/v1/ClassifyResponse.js';
import type { ClassifyStreamRequest__Output } from '../contract/generated/vitserve/v1/ClassifyStreamRequest.js';
import type { ClassifyStreamResponse } from '../contract/generated/vitserve/v1/ClassifyStreamResponse.js';
import { RequestError, toRequestError } from '../errors.js';
import type { Admission } from '../pipeline/admission.js';
import { type ImageRecord, newImageRecord } from '../pipeline/image-record.js';
import type { Permit } from '../pipeline/permits.js';
import type { OngoingCall } from '../telemetry/calls.js';
import { contextOf, leavingError } from './admission-interceptor.js';
import { toCallStatus, toRpcStatus } from './status.js';

type StreamCall = ServerDuplexStream<ClassifyStreamRequest__Output, ClassifyStreamResponse>;
type Classify = (
  request: ClassifyRequest__Output,
  signal: AbortSignal,
  permit: Permit,
  record: ImageRecord,
) => Promise<ClassifyResponse>;

export class ClassifyStreamCall {
  readonly #call: StreamCall;
  readonly #admission: Admission;
  readonly #clock: Clock;
  readonly #classify: Classify;
  readonly #leaving = new AbortController();
  readonly #inputEnded: Promise<void>;
  #endInput: () => void = () => {};
  #draining = false;

  constructor(
    call: StreamCall,
    { admission, clock }: { readonly admission: Admission; readonly clock: Clock },
    classify: Classify,
  ) {
    this.#call = call;
    this.#admission = admission;
    this.#clock = clock;
    this.#classify = classify;
    // Every image of the stream that is being worked on listens to it.
    setMaxListeners(0, this.#leaving.signal);
    this.#inputEnded = new Promise((resolve) => {
      this.#endInput = resolve;
    });
  }

  /** Resolves when the call has ended, in whatever way. Never rejects. */
  async run(): Promise<void> {
    const call = this.#call;
    const pending = new Set<Promise<void>>();
    call.on('cancelled', () => {
      this.#leaving.abort(leavingError(call));
      this.#endInput();
    });
    call.on('data', (message: ClassifyStreamRequest__Output) => {
      const answered = this.#answer(message).finally(() => pending.delete(answered));
      pending.add(answered);
    });
    call.on('end', () => this.#endInput());
    await this.#inputEnded;
    await Promise.all(pending);
    if (this.#leaving.signal.aborted) return;
    if (this.#draining) call.emit('error', toCallStatus(this.#drainingError()));
    else call.end();
  }

  /** Ends the call now, answered or not. */
  cut(): void {
    const error = this.#drainingError();
    this.#leaving.abort(error);
    this.#endInput();
    this.#call.emit('error', toCallStatus(error));
  }

  drain(): void {
    this.#draining = true;
    this.#endInput();
  }

  async #answer(message: ClassifyStreamRequest__Output): Promise<void> {
    const { requestId, request } = message;
    const { signal } = this.#leaving;
    const record = newImageRecord(this.#clock.now());
    try {
      if (request === null)
        throw new RequestError('REQUEST_MISSING', 'request is missing: send an image with each request_id');
      if (this.#draining) throw this.#drainingError();
      const permit = await this.#admission.permits.takeForStream(signal);
      record.admittedAt = this.#clock.now();
      try {
        void this.#readNext();
        const response = await this.#classify(request, signal, permit, record);
        this.#write({ requestId, response }, 'OK', null, record);
      } finally {
        permit.release();
      }
    } catch (thrown) {
      const error = toRequestError(thrown);
      const status = toRpcStatus(error);
      if (status.code === grpcStatus.INTERNAL) this.#observed.failed(error.cause ?? error);
      this.#write({ requestId, status }, grpcStatus[status.code], error, record);
      if (request === null) void this.#readNext();
    }
  }

  /** Lets the next message be read, once the caller has taken the answers so far. */
  async #readNext(): Promise<void> {
    const { signal } = this.#leaving;
    if (this.#call.writableNeedDrain) await once(this.#call, 'drain', { signal }).catch(() => {});
    if (!signal.aborted && !this.#draining) contextOf(this.#call.metadata).readNext();
  }

  #write(response: ClassifyStreamResponse, code: string, error: RequestError | null, record: ImageRecord): void {
    this.#observed.streamImageEnded(record, code, error?.reason ?? null);
    if (!this.#leaving.signal.aborted) this.#call.write(response);
  }

  get #observed(): OngoingCall {
    return contextOf(this.#call.metadata).observed;
  }

  #drainingError(): RequestError {
    return new RequestError('DRAINING', 'the server is stopping: send the rest to another one', { retryAfterMs: 100 });
  }
}
