/**
 * One ClassifyStream or EmbedStream call: images in, answers out as they finish, backpressure
 * instead of rejections.
 *
 * What holds: at most one image of a stream waits for a permit, and the server reads no further
 * until that image has one, nor while the caller does not read its answers. An error in an image is
 * the answer to that image.
 *
 * `#state` alone decides what may still happen. `open`: messages are taken. `ending`: the caller
 * has ended its side, the server is stopping, or the rest cannot be read; the server answers what
 * it has taken and takes nothing else, and the status covers messages that were on their way.
 * `ended`: the status follows the last answer, and nothing more is written.
 */
import { once, setMaxListeners } from 'node:events';
import { status as grpcStatus, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../../clock.js';
import type { Status } from '../../contract/generated/google/rpc/Status.js';
import { RequestError, toRequestError } from '../../errors.js';
import type { Permit, Permits } from '../admission/permits.js';
import { newImageRecord } from '../telemetry/record.js';
import type { CallEnding } from '../workarounds/base-call.js';
import { type AdmittedImage, Call, type OpenStream } from './call.js';
import { toCallStatus, toRpcStatus } from './status.js';

/** One image of a stream. */
export interface StreamRequest<Request> {
  readonly requestId: string;
  readonly request: Request | null;
}

/** What became of it. */
export type StreamResponse<Response> = { readonly requestId: string } & (
  | { readonly response: Response }
  | { readonly status: Status }
);

export interface ImageStreamOptions<Request, Response> {
  readonly permits: Permits;
  readonly clock: Clock;
  /** Answers one image, as the unary call does. */
  readonly work: (request: Request, image: AdmittedImage) => Promise<Response>;
}

export class ImageStream<Request, Response> implements OpenStream {
  readonly #stream: ServerDuplexStream<StreamRequest<Request>, StreamResponse<Response>>;
  readonly #options: ImageStreamOptions<Request, Response>;
  readonly #call: Call;
  #state: 'open' | 'ending' | 'ended' = 'open';
  /** The status to end with; null: OK. */
  #ending: CallEnding | null = null;
  /** Messages taken and not answered yet. */
  #pending = 0;

  constructor(
    stream: ServerDuplexStream<StreamRequest<Request>, StreamResponse<Response>>,
    options: ImageStreamOptions<Request, Response>,
  ) {
    this.#stream = stream;
    this.#call = Call.of(stream);
    this.#options = options;
    const { signal } = this.#call;
    // Every image of the stream in progress listens to it.
    setMaxListeners(0, signal);
    // grpc-js emits it at every end of the call.
    stream.on('cancelled', () => {
      this.#state = 'ended';
    });
    this.#call.attach(this);
    stream.on('data', (message: StreamRequest<Request>) => void this.#take(message));
    stream.on('end', () => this.#stopTaking(null));
  }

  endInOrder(ending: CallEnding): boolean {
    return this.#stopTaking(ending);
  }

  end(ending: CallEnding): void {
    if (this.#state !== 'ended') this.#end(ending);
  }

  #stopTaking(ending: CallEnding | null): boolean {
    if (this.#state !== 'open') return false;
    this.#state = 'ending';
    this.#ending = ending;
    this.#endWhenAnswered();
    return true;
  }

  async #take(message: StreamRequest<Request>): Promise<void> {
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
    if (ending === null) this.#stream.end();
    else this.#stream.emit('error', ending);
  }

  async #answer(message: StreamRequest<Request>): Promise<void> {
    const { requestId, request } = message;
    const { permits, clock, work } = this.#options;
    const { signal, expiresAt } = this.#call;
    const record = newImageRecord(clock.now(), expiresAt);
    let permit: Permit | null = null;
    try {
      const rejection = this.#call.rejectionOf(message);
      if (rejection?.endsStream === true) this.#stopTaking(toCallStatus(rejection.error));
      if (rejection !== null) throw rejection.error;
      if (request === null) {
        const text = 'request is missing: send an image with each request_id';
        throw new RequestError('REQUEST_MISSING', text);
      }
      permit = await permits.takeForStream(signal);
      record.admittedAt = clock.now();
      void this.#readNext();
      const { slot } = permit;
      const image = { slot, ofStream: true, signal, record };
      const response = await work(request, image);
      this.#call.reportImage(record, 'OK', null);
      this.#write({ requestId, response });
    } catch (thrown) {
      const error = toRequestError(thrown);
      const status = toRpcStatus(error);
      this.#call.reportFault(error);
      this.#call.reportImage(record, grpcStatus[status.code], error.reason);
      this.#write({ requestId, status });
      if (permit === null) void this.#readNext();
    } finally {
      permit?.release();
    }
  }

  /** Has the next message read, once the caller has read the answers so far. */
  async #readNext(): Promise<void> {
    const { signal } = this.#call;
    if (this.#stream.writableNeedDrain)
      await once(this.#stream, 'drain', { signal }).catch(() => {});
    if (this.#state === 'open') this.#call.pace?.next();
  }

  #write(response: StreamResponse<Response>): void {
    if (this.#state !== 'ended') this.#stream.write(response);
  }
}
