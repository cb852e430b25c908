/**
 * A plain gRPC client made from `proto/` at run time, like any user's: without vitserve's own code,
 * and without retries.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import {
  type ChannelCredentials,
  type ChannelOptions,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader';
import { REPOSITORY, type Scope } from './scope.js';

const definition = loadSync(
  [
    'vitserve/v1/classification.proto',
    'google/rpc/error_details.proto',
    'grpc/health/v1/health.proto',
  ],
  {
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
    includeDirs: [join(REPOSITORY, 'proto')],
  },
);
/** The services and messages of the contract, for servers that stand in for the real one. */
export const contractDefinition = definition;
const reflectionDefinition = loadSync(
  join(REPOSITORY, 'node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto'),
  { longs: Number, enums: String, defaults: true, oneofs: true },
);

export const SERVICE = 'vitserve.v1.ClassificationService';

export interface ModelVersion {
  readonly name: string;
  readonly version: string;
  readonly executionProvider: string;
}

export interface Timing {
  readonly decode: Duration;
  readonly queue: Duration;
  readonly inference: Duration;
  readonly batchSize: number;
}

export interface Duration {
  readonly seconds: number;
  readonly nanos: number;
}

export function milliseconds({ seconds, nanos }: Duration): number {
  return seconds * 1000 + nanos / 1e6;
}

export interface ClassifyResponse {
  readonly predictions: readonly {
    readonly classIndex: number;
    readonly label: string;
    readonly score: number;
  }[];
  readonly model: ModelVersion;
  readonly timing: Timing;
}

export interface EmbedRequest extends ImageRequest {
  readonly normalize?: boolean;
  readonly dimensions?: number;
}

export interface EmbedResponse {
  readonly embedding: readonly number[];
  readonly model: ModelVersion;
  readonly timing: Timing;
}

export interface Model {
  readonly model: ModelVersion;
  readonly classCount: number;
  readonly labels: readonly string[];
  readonly inputHeight: number;
  readonly inputWidth: number;
  readonly embeddingSize: number;
  readonly maxBatchSize: number;
}

export interface RpcStatus {
  readonly code: number;
  readonly message: string;
  readonly details: readonly { readonly type_url: string; readonly value: Buffer }[];
}

export interface StreamResponse<Response = ClassifyResponse> {
  readonly requestId: string;
  readonly result: 'response' | 'status';
  readonly response?: Response;
  readonly status?: RpcStatus;
}

export interface ImageRequest {
  readonly image?: Uint8Array;
  readonly model?: string;
  readonly topK?: number;
}

export interface CallSettings {
  readonly timeoutMs?: number;
  /** Aborted: the call is cancelled. */
  readonly signal?: AbortSignal;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The parts of `google.rpc.Status` beside code and message. Absent parts are null. */
export interface Details {
  readonly reason: string | null;
  readonly domain: string | null;
  readonly field: string | null;
  readonly retryDelayMs: number | null;
}

export function readDetails(rpcStatus: RpcStatus): Details {
  const read = <Detail>(name: string): Detail | null => {
    const found = rpcStatus.details.find(
      ({ type_url }) => type_url === `type.googleapis.com/${name}`,
    );
    return found ? (messageType(name).deserialize(found.value) as Detail) : null;
  };
  const info = read<{ reason: string; domain: string }>('google.rpc.ErrorInfo');
  const badRequest = read<{ fieldViolations: { field: string }[] }>('google.rpc.BadRequest');
  const retry = read<{ retryDelay: Duration }>('google.rpc.RetryInfo');
  return {
    reason: info?.reason ?? null,
    domain: info?.domain ?? null,
    field: badRequest?.fieldViolations[0]?.field ?? null,
    retryDelayMs: retry ? milliseconds(retry.retryDelay) : null,
  };
}

/** A call that ended with an error. */
export class CallFailure extends Error implements Details {
  override readonly name = 'CallFailure';
  /** Name of the gRPC status. */
  readonly code: string;
  readonly reason: string | null;
  readonly domain: string | null;
  readonly field: string | null;
  readonly retryDelayMs: number | null;
  readonly pushbackMs: number | null;
  /** The server's id of the call. */
  readonly requestId: string | null;

  constructor({
    code,
    details,
    metadata,
  }: Pick<ServiceError, 'code' | 'details'> & { readonly metadata: Metadata }) {
    super(details);
    this.code = status[code] ?? String(code);
    const [packed] = metadata.get('grpc-status-details-bin');
    const [pushback] = metadata.get('grpc-retry-pushback-ms');
    const rpcStatus = (
      Buffer.isBuffer(packed)
        ? messageType('google.rpc.Status').deserialize(packed)
        : { details: [] }
    ) as RpcStatus;
    ({
      reason: this.reason,
      domain: this.domain,
      field: this.field,
      retryDelayMs: this.retryDelayMs,
    } = readDetails(rpcStatus));
    this.pushbackMs = pushback === undefined ? null : Number(pushback);
    this.requestId = metadata.get('x-request-id')[0]?.toString() ?? null;
  }
}

/** A message type of the contract by its full name. */
export function messageType(name: string): MessageTypeDefinition<object, object> {
  return definition[name] as MessageTypeDefinition<object, object>;
}

/** The client certificate, for a server that requests one. */
export interface Identity {
  readonly channel?: ChannelCredentials;
  readonly token?: string;
}

export class PlainClient {
  readonly #clients: {
    readonly classification: Client;
    readonly health: Client;
    readonly reflection: Client;
  };
  readonly #metadata = new Metadata();

  /** Closed with the scope. Each has a connection of its own. */
  constructor(
    scope: Scope,
    address: string,
    options: ChannelOptions = {},
    { channel, token }: Identity = {},
  ) {
    if (token !== undefined) this.#metadata.set('authorization', `Bearer ${token}`);
    const open = (Constructor: unknown) =>
      new (Constructor as ServiceClientConstructor)(
        address,
        channel ?? credentials.createInsecure(),
        {
          'grpc.enable_retries': 0,
          'grpc.use_local_subchannel_pool': 1,
          'grpc.max_receive_message_length': -1,
          ...options,
        },
      );
    // biome-ignore lint/suspicious/noExplicitAny: a wrong name fails at once
    const packages = loadPackageDefinition({ ...definition, ...reflectionDefinition }) as any;
    this.#clients = {
      classification: open(packages.vitserve.v1.ClassificationService),
      health: open(packages.grpc.health.v1.Health),
      reflection: open(packages.grpc.reflection.v1.ServerReflection),
    };
    scope.after(() => this.close());
  }

  classify(request: ImageRequest, settings?: CallSettings): Promise<ClassifyResponse> {
    return this.#unary('classification', 'Classify', request, settings);
  }

  embed(request: EmbedRequest, settings?: CallSettings): Promise<EmbedResponse> {
    return this.#unary('classification', 'Embed', request, settings);
  }

  getModel(model = ''): Promise<Model> {
    return this.#unary('classification', 'GetModel', { model });
  }

  listModels(
    request: { readonly pageSize?: number; readonly pageToken?: string } = {},
  ): Promise<{ readonly models: readonly Model[]; readonly nextPageToken: string }> {
    return this.#unary('classification', 'ListModels', request);
  }

  async check(service = '', settings?: CallSettings): Promise<string> {
    return (await this.#unary<{ status: string }>('health', 'Check', { service }, settings)).status;
  }

  watch(service = ''): Watch {
    return new Watch(
      this.#open('health', 'Watch', { service }) as ClientReadableStream<{ status: string }>,
    );
  }

  stream(settings: CallSettings = {}): ImageStream {
    return new ImageStream(this.#stream('ClassifyStream', settings));
  }

  embedStream(settings: CallSettings = {}): ImageStream<EmbedRequest, EmbedResponse> {
    return new ImageStream(this.#stream('EmbedStream', settings));
  }

  #stream<Response>(name: string, settings: CallSettings): ClientDuplexStream<object, Response> {
    const method = this.#method('classification', name);
    return method(this.#metadata, optionsOf(settings)) as ClientDuplexStream<object, Response>;
  }

  /** Names of the services that reflection lists. */
  async reflectedServices(): Promise<string[]> {
    const call = this.#method('reflection', 'ServerReflectionInfo')(
      this.#metadata,
      {},
    ) as ClientDuplexStream<object, { listServicesResponse: { service: { name: string }[] } }>;
    call.write({ listServices: '' });
    try {
      const [response] = await once(call, 'data');
      return response.listServicesResponse.service.map(({ name }: { name: string }) => name);
    } catch (error) {
      throw new CallFailure(error as ServiceError);
    } finally {
      call.on('error', () => {});
      call.cancel();
    }
  }

  close(): void {
    for (const client of Object.values(this.#clients)) client.close();
  }

  #method(
    client: 'classification' | 'health' | 'reflection',
    method: string,
  ): (...args: unknown[]) => unknown {
    const stub = this.#clients[client] as unknown as Record<
      string,
      (...args: unknown[]) => unknown
    >;
    return (...args) => stub[method]?.(...args);
  }

  #open(
    client: 'classification' | 'health' | 'reflection',
    method: string,
    request: object,
  ): unknown {
    return this.#method(client, method)(request, this.#metadata, {});
  }

  #unary<Response>(
    client: 'classification' | 'health',
    method: string,
    request: object,
    settings: CallSettings = {},
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const reply = (error: ServiceError | null, response?: Response) => {
        if (error === null) resolve(response as Response);
        else reject(new CallFailure(error));
      };
      const metadata = this.#metadata.clone();
      for (const [key, value] of Object.entries(settings.metadata ?? {})) metadata.set(key, value);
      const call = this.#method(client, method)(request, metadata, optionsOf(settings), reply) as {
        cancel(): void;
      };
      settings.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    });
  }
}

/**
 * A deadline on every call, so that a server that forgets one fails the test instead of hanging it.
 */
function optionsOf({ timeoutMs = 60_000 }: CallSettings): { deadline: number } {
  return { deadline: Date.now() + timeoutMs };
}

/** The answers of a streaming call and its end. */
class Received<Message> {
  readonly messages: Message[] = [];
  /** How the call ended: null for OK. */
  readonly ended: Promise<CallFailure | null>;
  readonly #arrived = new EventTarget();

  constructor(call: ClientReadableStream<Message>) {
    call.on('data', (message: Message) => {
      this.messages.push(message);
      this.#arrived.dispatchEvent(new Event('change'));
    });
    call.on('error', () => {});
    this.ended = new Promise((resolve) => {
      call.on('status', (ending) => {
        resolve(ending.code === status.OK ? null : new CallFailure(ending));
        this.#arrived.dispatchEvent(new Event('change'));
      });
    });
  }

  /** Waits until there are so many messages; rejects if the call ends before. */
  async count(wanted: number): Promise<readonly Message[]> {
    while (this.messages.length < wanted) {
      const ending = await Promise.race([once(this.#arrived, 'change'), this.ended]);
      if (!Array.isArray(ending) && this.messages.length < wanted) {
        throw new Error(
          `the call ended after ${this.messages.length} messages: ${ending?.message ?? 'OK'}`,
        );
      }
    }
    return this.messages;
  }
}

export class Watch extends Received<{ status: string }> {
  readonly #call: ClientReadableStream<{ status: string }>;

  constructor(call: ClientReadableStream<{ status: string }>) {
    super(call);
    this.#call = call;
  }

  get statuses(): string[] {
    return this.messages.map((message) => message.status);
  }

  cancel(): void {
    this.#call.cancel();
  }
}

export class ImageStream<
  Request extends object = ImageRequest,
  Response = ClassifyResponse,
> extends Received<StreamResponse<Response>> {
  readonly #call: ClientDuplexStream<object, StreamResponse<Response>>;

  constructor(call: ClientDuplexStream<object, StreamResponse<Response>>) {
    super(call);
    this.#call = call;
  }

  send(requestId: string, request: Request | null): void {
    this.#call.write({ requestId, request });
  }

  finish(): void {
    this.#call.end();
  }

  cancel(): void {
    this.#call.cancel();
  }

  /** The answers by request_id. */
  byId(): Map<string, StreamResponse<Response>> {
    return new Map(this.messages.map((message) => [message.requestId, message]));
  }
}

/** The failure of a call that must fail. */
export async function failureOf(call: Promise<unknown>): Promise<CallFailure> {
  let answered: unknown;
  try {
    answered = await call;
  } catch (error) {
    if (error instanceof CallFailure) return error;
    throw error;
  }
  throw new Error(`the call was answered: ${JSON.stringify(answered)}`);
}

/** The answer, or the failure of a call that may fail; anything else is thrown. */
export async function outcomeOf<Response>(
  call: Promise<Response>,
): Promise<Response | CallFailure> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof CallFailure) return error;
    throw error;
  }
}
