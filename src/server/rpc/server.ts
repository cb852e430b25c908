/**
 * The gRPC server: one port with the ClassificationService, health and, optionally, reflection; and
 * optionally a second port with health alone, for callers without a certificate.
 */
import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import type { Address } from '../../cli/value-types.js';
import { loadContract } from '../../contract/contract.js';
import { allOrProblems, RequestError } from '../../errors.js';
import { RejectionThrottle } from '../admission/rejection-throttle.js';
import { type CredentialSettings, Credentials } from '../transport/credentials.js';
import { Listener } from '../transport/listener.js';
import { type CallContext, OpenCalls, OTHER_MESSAGE_BYTES } from './call.js';
import { withFloats } from './embed-serializer.js';
import { createGrpcServer, type GrpcServer } from './grpc-server.js';
import { Health } from './health.js';
import { createInterceptor } from './interceptor.js';
import { type CallEngine, methodsOf } from './methods.js';
import { withLinkedDescriptors } from './reflection.js';

// grpc-js also reports as errors what it prints past the log.
setLogVerbosity(logVerbosity.NONE);

/** How long the statuses of aborted calls may take to reach their callers. */
const ABORT_GRACE_MS = 200;

/** Room in a message beside the image: an image slightly too large gets an error with its size. */
const MESSAGE_ALLOWANCE_BYTES = 64 * 1024;
/** The kubelet and other callers that only check health. */
const MOST_HEALTH_CONNECTIONS = 256;

export interface RpcServerOptions
  extends CredentialSettings,
    Pick<CallContext, 'clock' | 'report' | 'maxImageBytes' | 'uploadTimeoutMs' | 'warmUpToken'> {
  readonly engine: CallEngine;
  readonly address: Address;
  /** A second, plaintext address for health; null: none. */
  readonly healthAddress: Address | null;
  readonly maxConnections: number;
  /** 0: unlimited. */
  readonly maxConnectionAgeMs: number;
  readonly reflection: boolean;
}

/** What `listen` brings up. */
interface Parts {
  readonly main: GrpcServer;
  readonly listener: Listener;
  readonly plain: GrpcServer;
  /** null where health has no port of its own. */
  readonly plainListener: Listener | null;
  readonly health: Health;
  readonly calls: OpenCalls;
  readonly credentials: Credentials;
  readonly throttle: RejectionThrottle;
}

export class RpcServer {
  readonly health: Health;
  readonly #options: RpcServerOptions;
  readonly #parts: Parts;

  private constructor(options: RpcServerOptions, parts: Parts) {
    this.#options = options;
    this.#parts = parts;
    this.health = parts.health;
  }

  get port(): number {
    return this.#parts.listener.port;
  }

  /** null where health has no port of its own. */
  get healthPort(): number | null {
    return this.#parts.plainListener?.port ?? null;
  }

  get gauges(): { readonly connections: number; readonly heldRejections: number } {
    const { listener, throttle } = this.#parts;
    return { connections: listener.connections, heldRejections: throttle.held };
  }

  /**
   * Starts to listen. Rejects with SetupError where an address cannot be bound, or certificates or
   * tokens cannot be read.
   */
  static async listen(options: RpcServerOptions): Promise<RpcServer> {
    const { definition, contract } = loadContract();
    const { engine, clock, report, reflection, maxImageBytes } = options;
    const credentials = await Credentials.open(options, clock, report);
    const throttle = new RejectionThrottle({
      clock,
      imagesPerSecond: () => engine.imagesPerSecond,
      report,
    });
    const health = new Health();
    const calls = new OpenCalls();
    const main = createGrpcServer({
      ...options,
      maxMessageBytes: maxImageBytes + MESSAGE_ALLOWANCE_BYTES,
      interceptor: createInterceptor({
        ...options,
        throttle,
        open: calls,
        authenticate: (metadata) => credentials.authenticate(metadata.get('authorization')),
      }),
    });
    const { ClassificationService } = contract.vitserve.v1;
    main.server.addService(withFloats(ClassificationService.service), {
      ...methodsOf(engine, clock),
    });
    main.server.addService(contract.grpc.health.v1.Health.service, { ...health.handlers });
    if (reflection)
      new ReflectionService(withLinkedDescriptors(definition)).addToServer(main.server);
    const plain = createGrpcServer({
      ...options,
      maxMessageBytes: OTHER_MESSAGE_BYTES,
      interceptor: createInterceptor({
        ...options,
        throttle,
        open: new OpenCalls(),
        authenticate: () => {},
      }),
    });
    plain.server.addService(contract.grpc.health.v1.Health.service, { ...health.handlers });

    const [listener, plainListener] = await bind(options, credentials, main, plain);
    credentials.watch((context) => listener.setTls(context));
    const parts = { main, listener, plain, plainListener, health, calls, credentials, throttle };
    return new RpcServer(options, parts);
  }

  /** Reads the files of certificates and tokens again, where they have changed. */
  async reloadCredentials(): Promise<void> {
    await this.#parts.credentials.look();
  }

  /**
   * Opens a plaintext port on this machine for the server's own first calls, which have no
   * certificate. Other calls there get STARTING. The caller closes it before the server serves.
   */
  async listenForWarmUp(): Promise<Listener> {
    return await Listener.listen({
      option: 'warm-up',
      address: { host: '127.0.0.1', port: 0 },
      tls: null,
      maxConnections: 4,
      clock: this.#options.clock,
      report: () => {},
      inject: this.#parts.main.inject,
    });
  }

  /**
   * Ends each stream once its pending images are answered, and sends the rejections that are held
   * back. Admission rejects new calls.
   */
  drainStreams(): void {
    const { throttle, calls } = this.#parts;
    throttle.releaseAll();
    const text = 'the server is stopping: send the rest to another one';
    const error = new RequestError('DRAINING', text, { retryAfterMs: 100 });
    for (const call of calls) if (call.kind === 'stream') call.reject(error);
  }

  /**
   * Accepts no further connections and asks the open ones to close, but still takes calls that are
   * on their way. Resolves when no further call can arrive, after `limitMs` at the latest.
   */
  async retireConnections(limitMs: number): Promise<void> {
    const { main, listener } = this.#parts;
    listener.close();
    const { promise: over, cancel } = timeout(limitMs);
    await Promise.race([main.retire(), over]);
    cancel();
  }

  /**
   * Waits at most `timeoutMs` for the calls in flight, then aborts them with DRAINING. Resolves to
   * whether all of them ended by themselves.
   */
  async close(timeoutMs: number): Promise<boolean> {
    const { main, listener, plain, plainListener, calls, credentials } = this.#parts;
    this.health.close();
    // Incomplete calls of kind `other` do no work and would only delay the stop. Admitted images
    // may still arrive, within `upload-timeout`.
    const error = new RequestError('DRAINING', 'the server is stopping: call another one');
    for (const call of calls) if (call.kind === 'other' && !call.hasBody) call.reject(error);
    credentials.stop();
    listener.close();
    // From Node 24 on grpc-js counts a session as closed as soon as it asked it to close.
    const ended = new Promise<boolean>((resolve) =>
      main.server.tryShutdown((error) => resolve(error === undefined)),
    ).then(async (inOrder) => {
      await listener.drained();
      return inOrder;
    });
    const { promise: over, cancel } = timeout(timeoutMs);
    const inTime = await Promise.race([ended, over]);
    cancel();
    if (!inTime) {
      const text = 'the server stopped before the image was answered: call another one';
      for (const call of calls) call.abort(new RequestError('DRAINING', text));
      // The statuses have to reach their callers before the connections close.
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, ABORT_GRACE_MS))]);
      main.server.forceShutdown();
    }
    listener.destroy();
    plain.server.forceShutdown();
    plainListener?.destroy();
    return inTime;
  }
}

/** Resolves to false after `delayMs`. */
function timeout(delayMs: number): { readonly promise: Promise<false>; cancel(): void } {
  let timer: NodeJS.Timeout | undefined;
  const promise = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), delayMs);
  });
  return { promise, cancel: () => clearTimeout(timer) };
}

/** Binds both ports, or neither. */
async function bind(
  { address, healthAddress, maxConnections, clock, report }: RpcServerOptions,
  { tls }: Credentials,
  main: GrpcServer,
  plain: GrpcServer,
): Promise<readonly [Listener, Listener | null]> {
  const common = { clock, report };
  const own = { ...common, option: 'address', address, tls, maxConnections, inject: main.inject };
  const listeners = [
    Listener.listen(own),
    healthAddress === null
      ? null
      : Listener.listen({
          ...common,
          option: 'health-address',
          address: healthAddress,
          tls: null,
          maxConnections: MOST_HEALTH_CONNECTIONS,
          inject: plain.inject,
        }),
  ] as const;
  try {
    return await allOrProblems(listeners);
  } catch (error) {
    for (const listener of listeners) void listener?.then((bound) => bound.close()).catch(() => {});
    throw error;
  }
}
