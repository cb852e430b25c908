/**
 * One ClassifyStream call: images in, answers out as they finish, backpressure instead of refusals.
 *
 * What holds: at most one image of a stream waits for a permit, and nothing further is read before
 * it has one; while the caller does not read its answers nothing further is read either; an error
 * in an image is its own answer.
 *
 * `#state` alone decides what may still be done. `open`: messages are taken. `ending`: the caller
 * has ended its side, the server is stopping, or the call can't be read on; what was taken before
 * is answered, and nothing else is taken: about messages that were on their way the status tells.
 * `ended`: the status has been handed over, after the last answer, and nothing is written.
 */
import { once, setMaxListeners } from 'node:events';
import { status as grpcStatus, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../../clock.js';
import type { ClassifyRequest__Output } from '../../contract/generated/vitserve/v1/ClassifyRequest.js';
import type { ClassifyResponse } from '../../contract/generated/vitserve/v1/ClassifyResponse.js';
import type { ClassifyStreamRequest__Output } from '../../contract/generated/vitserve/v1/ClassifyStreamRequest.js';
import type { ClassifyStreamResponse } from '../../contract/generated/vitserve/v1/ClassifyStreamResponse.js';
import { RequestError, toRequestError } from '../../errors.js';
import type { Admission } from '../admission/admission.js';
import type { Permit } from '../admission/permits.js';
import { type ImageRecord, newImageRecord } from '../pipeline/image-record.js';
import type { OngoingCall } from '../telemetry/calls.js';
import type { CallEnding } from '../workarounds/base-call.js';
import { type CallContext, contextOf, leavingError } from './admission-interceptor.js';
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
  readonly #context: CallContext;
  readonly #leaving = new AbortController();
  readonly #finished: Promise<void>;
  #finish: () => void = () => {};
  #state: 'open' | 'ending' | 'ended' = 'open';
  /** How the call will end; null: with OK. */
  #ending: CallEnding | null = null;
  /** Messages taken and not answered yet. */
  #pending = 0;

  constructor(
    call: StreamCall,
    { admission, clock }: { readonly admission: Admission; readonly clock: Clock },
    classify: Classify,
  ) {
    this.#call = call;
    this.#admission = admission;
    this.#clock = clock;
    this.#classify = classify;
    this.#context = contextOf(call.metadata);
    // Every image of the stream that is being worked on listens to it.
    setMaxListeners(0, this.#leaving.signal);
    this.#finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Resolves when the call has its status, or its caller has left. Never rejects. */
  async run(): Promise<void> {
    const call = this.#call;
    this.#context.endInOrder = (ending) => this.#stopTaking(ending);
    call.on('cancelled', () => {
      this.#state = 'ended';
      this.#leaving.abort(leavingError(call));
      this.#finish();
    });
    call.on('data', (message: ClassifyStreamRequest__Output) => void this.#take(message));
    call.on('end', () => this.#stopTaking(null));
    await this.#finished;
  }

  /** Ends the call now, answered or not. */
  cut(): void {
    if (this.#state === 'ended') return;
    const error = this.#drainingError();
    this.#leaving.abort(error);
    this.#end(toCallStatus(error));
  }

  drain(): void {
    this.#stopTaking(toCallStatus(this.#drainingError()));
  }

  /**
   * Resolves to whether the call will end so, when everything taken has been answered; false: it
   * ends otherwise already.
   */
  #stopTaking(ending: CallEnding | null): boolean {
    if (this.#state !== 'open') return false;
    this.#state = 'ending';
    this.#ending = ending;
    this.#endWhenAnswered();
    return true;
  }

  async #take(message: ClassifyStreamRequest__Output): Promise<void> {
    if (this.#state !== 'open') return;
    this.#pending++;
    await this.#answer(message);
    this.#pending--;
    this.#endWhenAnswered();
  }

  #endWhenAnswered(): void {
    if (this.#state === 'ending' && this.#pending === 0) this.#end(this.#ending);
  }

  #end(ending: CallEnding | null): void {
    this.#state = 'ended';
    if (ending === null) this.#call.end();
    else this.#call.emit('error', ending);
    this.#finish();
  }

  async #answer(message: ClassifyStreamRequest__Output): Promise<void> {
    const { requestId, request } = message;
    const { signal } = this.#leaving;
    const record = newImageRecord(this.#clock.now());
    let permit: Permit | null = null;
    try {
      const refusal = this.#context.refusalOf(message);
      if (refusal?.endsStream === true) this.#stopTaking(toCallStatus(refusal.error));
      if (refusal !== null) throw refusal.error;
      if (request === null)
        throw new RequestError(
          'REQUEST_MISSING',
          'request is missing: send an image with each request_id',
        );
      permit = await this.#admission.permits.takeForStream(signal);
      record.admittedAt = this.#clock.now();
      void this.#readNext();
      const response = await this.#classify(request, signal, permit, record);
      this.#write({ requestId, response }, 'OK', null, record);
    } catch (thrown) {
      const error = toRequestError(thrown);
      const status = toRpcStatus(error);
      if (status.code === grpcStatus.INTERNAL) this.#observed.failed(error.cause ?? error);
      this.#write({ requestId, status }, grpcStatus[status.code], error, record);
      if (permit === null) void this.#readNext();
    } finally {
      permit?.release();
    }
  }

  /** Lets the next message be read, once the caller has taken the answers so far. */
  async #readNext(): Promise<void> {
    const { signal } = this.#leaving;
    if (this.#call.writableNeedDrain) await once(this.#call, 'drain', { signal }).catch(() => {});
    if (this.#state === 'open') this.#context.readNext();
  }

  #write(
    response: ClassifyStreamResponse,
    code: string,
    error: RequestError | null,
    record: ImageRecord,
  ): void {
    this.#observed.streamImageEnded(record, code, error?.reason ?? null);
    if (this.#state !== 'ended') this.#call.write(response);
  }

  get #observed(): OngoingCall {
    return this.#context.observed;
  }

  #drainingError(): RequestError {
    return new RequestError('DRAINING', 'the server is stopping: send the rest to another one', {
      retryAfterMs: 100,
    });
  }
}
