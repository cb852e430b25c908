/**
 * A typed client of the service, for the command line, benchmarks and other Node programs.
 *
 * It retries calls that the server marks as retryable (UNAVAILABLE, RESOURCE_EXHAUSTED, after the
 * server's own pushback) through gRPC's retry policy, and turns statuses into VitserveError with
 * the reason from `google.rpc.ErrorInfo`.
 */
import {
  type CallOptions,
  credentials,
  status as grpcStatus,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadContract, messageType, readServiceConfig } from '../contract/contract.js';
import type { ErrorInfo, ErrorInfo__Output } from '../contract/generated/google/rpc/ErrorInfo.js';
import type { Status, Status__Output } from '../contract/generated/google/rpc/Status.js';
import type { ClassificationServiceClient } from '../contract/generated/vitserve/v1/ClassificationService.js';
import type { ClassifyRequest } from '../contract/generated/vitserve/v1/ClassifyRequest.js';
import type { ClassifyResponse__Output } from '../contract/generated/vitserve/v1/ClassifyResponse.js';
import type { EmbedRequest } from '../contract/generated/vitserve/v1/EmbedRequest.js';
import type { EmbedResponse__Output } from '../contract/generated/vitserve/v1/EmbedResponse.js';
import type { Model__Output } from '../contract/generated/vitserve/v1/Model.js';

/**
 * A call ended with an error. `code` is the gRPC status name; `reason` is empty if the status was
 * not the server's own.
 */
export class VitserveError extends Error {
  override readonly name = 'VitserveError';
  readonly code: string;
  readonly reason: string;

  constructor(error: ServiceError) {
    super(error.details, { cause: error });
    this.code = grpcStatus[error.code] ?? 'UNKNOWN';
    this.reason = reasonIn(error.metadata);
  }
}

export interface CallSettings {
  /** How long to wait for the answer, retries included. Absent: without limit. */
  readonly timeoutMs?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** All in PEM form. */
export interface ClientTls {
  /** The authorities that may sign the server's certificate; absent: those of the system. */
  readonly ca?: Buffer;
  /** Presented to a server that requests a client certificate, with its key. */
  readonly identity?: { readonly cert: Buffer; readonly key: Buffer };
}

export interface ClientOptions {
  /**
   * false: an error is final. Calls that a closing connection left unprocessed are always sent
   * again.
   */
  readonly retries?: boolean;
  /** Absent: plaintext. */
  readonly tls?: ClientTls;
  /** A bearer token, sent with every call. */
  readonly token?: string;
  /** Shares no connection with other clients of the same target. */
  readonly ownConnection?: boolean;
}

/** Requests up to this size are kept for a retry. */
const RETRY_BUFFER_BYTES = 64 * 1024 * 1024;

/** The rest of the service config when errors are final. */
const WITHOUT_RETRIES = { loadBalancingConfig: [{ round_robin: {} }] };

export class VitserveClient {
  readonly #stub: ClassificationServiceClient;
  readonly #metadata: Readonly<Record<string, string>>;

  /**
   * `target`: `host:port`, or any name that gRPC resolves. Connects with the first call. Throws if
   * certificate and key do not match.
   */
  constructor(target: string, options: ClientOptions = {}) {
    const { ClassificationService } = loadContract().contract.vitserve.v1;
    const { tls, token } = options;
    this.#metadata = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const channel =
      tls === undefined
        ? credentials.createInsecure()
        : credentials.createSsl(
            tls.ca ?? null,
            tls.identity?.key ?? null,
            tls.identity?.cert ?? null,
          );
    this.#stub = new ClassificationService(target, channel, {
      'grpc.service_config':
        options.retries === false ? JSON.stringify(WITHOUT_RETRIES) : readServiceConfig(),
      'grpc.retry_buffer_size': RETRY_BUFFER_BYTES,
      'grpc.per_rpc_retry_buffer_size': RETRY_BUFFER_BYTES,
      'grpc.max_receive_message_length': -1,
      'grpc.use_local_subchannel_pool': options.ownConnection === true ? 1 : 0,
    });
  }

  classify(request: ClassifyRequest, settings?: CallSettings): Promise<ClassifyResponse__Output> {
    return call((...rest) => this.#stub.classify(request, ...rest), this.#with(settings));
  }

  /** An encoded request, for callers that send the same one many times. */
  static encodeClassify(request: ClassifyRequest): Buffer {
    return loadContract().contract.vitserve.v1.ClassificationService.service.Classify.requestSerialize(
      request,
    );
  }

  classifyEncoded(request: Buffer, settings?: CallSettings): Promise<ClassifyResponse__Output> {
    const { path, responseDeserialize } =
      loadContract().contract.vitserve.v1.ClassificationService.service.Classify;
    const asItIs = (bytes: Buffer) => bytes;
    return call(
      (...rest) => this.#stub.makeUnaryRequest(path, asItIs, responseDeserialize, request, ...rest),
      this.#with(settings),
    );
  }

  embed(request: EmbedRequest, settings?: CallSettings): Promise<EmbedResponse__Output> {
    return call((...rest) => this.#stub.embed(request, ...rest), this.#with(settings));
  }

  getModel(model = '', settings?: CallSettings): Promise<Model__Output> {
    return call((...rest) => this.#stub.getModel({ model }, ...rest), this.#with(settings));
  }

  close(): void {
    this.#stub.close();
  }

  #with(settings: CallSettings = {}): CallSettings {
    return { ...settings, metadata: { ...this.#metadata, ...settings.metadata } };
  }
}

type Reply<Response> = (error: ServiceError | null, response?: Response) => void;

function call<Response>(
  start: (metadata: Metadata, options: CallOptions, reply: Reply<Response>) => unknown,
  { timeoutMs, metadata = {} }: CallSettings = {},
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const sent = new Metadata();
    for (const [key, value] of Object.entries(metadata)) sent.set(key, value);
    const options: CallOptions =
      timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
    start(sent, options, (error, response) => {
      if (error !== null) reject(new VitserveError(error));
      else resolve(response as Response);
    });
  });
}

function reasonIn(metadata: Metadata): string {
  const [bytes] = metadata.get('grpc-status-details-bin');
  if (!Buffer.isBuffer(bytes)) return '';
  const { details } = messageType<Status, Status__Output>('google.rpc.Status').deserialize(bytes);
  const info = details.find(({ type_url }) => type_url.endsWith('/google.rpc.ErrorInfo'));
  return info
    ? messageType<ErrorInfo, ErrorInfo__Output>('google.rpc.ErrorInfo').deserialize(info.value)
        .reason
    : '';
}
