/**
 * The gRPC server: one port with the ClassificationService, health and, if asked for, reflection;
 * and, if asked for, another one with nothing but health, for those who can't show a certificate.
 */
import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import type { Address } from '../../cli/value-types.js';
import { loadContract } from '../../contract/contract.js';
import { mergeSetupErrors } from '../../errors.js';
import { type RejectionObserver, RejectionThrottle } from '../admission/rejection-throttle.js';
import type { CallObserver } from '../telemetry/calls.js';
import { type CredentialSettings, Credentials } from '../transport/credentials.js';
import { type ConnectionObserver, Listener } from '../transport/listener.js';
import type { CredentialObserver } from '../transport/watched-files.js';
import { createAdmissionInterceptor } from './admission-interceptor.js';
import { ClassificationCalls, type ClassificationOptions } from './classification-calls.js';
import { OTHER_MESSAGE_BYTES } from './door.js';
import { createGrpcServer, type GrpcServer } from './grpc-server.js';
import { Health } from './health.js';
import { OpenRequests } from './open-requests.js';
import { withLinkedDescriptors } from './reflection.js';

// What grpc-js prints of errors, bypassing the log, arrives as errors as well.
setLogVerbosity(logVerbosity.NONE);

/** How long calls that were cut may take to be told so. */
const CUT_GRACE_MS = 200;

/**
 * Room in a message beside the image, so that an image slightly too large gets an error that says
 * by how much.
 */
const MESSAGE_ALLOWANCE_BYTES = 64 * 1024;
/** The kubelet, and whoever else asks for health only. */
const MOST_HEALTH_CONNECTIONS = 256;

export interface RpcServerOptions extends ClassificationOptions, CredentialSettings {
  readonly address: Address;
  /** Where health listens besides, in plaintext; null: nowhere. */
  readonly healthAddress: Address | null;
  readonly maxImageBytes: number;
  readonly uploadTimeoutMs: number;
  readonly maxConnections: number;
  /** 0: for ever. */
  readonly maxConnectionAgeMs: number;
  readonly reflection: boolean;
  /** See AdmissionInterceptorOptions. */
  readonly checkDeadline: (expiresAt: number) => void;
  /** What the server answers under load, as far as it is known. */
  readonly imagesPerSecond: () => number;
  /** Calls that carry it are taken while the server is starting. */
  readonly warmUpToken: string;
  readonly observer: CallObserver & ConnectionObserver & CredentialObserver & RejectionObserver;
}

/** What `listen` has brought up. */
interface Parts {
  readonly main: GrpcServer;
  readonly listener: Listener;
  readonly plain: GrpcServer;
  /** null where health has no port of its own. */
  readonly plainListener: Listener | null;
  readonly health: Health;
  readonly calls: ClassificationCalls;
  readonly openRequests: OpenRequests;
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

  /**
   * Listens from here on. Rejects with SetupError when an address can't be had, or certificates or
   * tokens can't be read.
   */
  static async listen(options: RpcServerOptions): Promise<RpcServer> {
    const { definition, contract } = loadContract();
    const { clock, observer } = options;
    const health = new Health();
    const calls = new ClassificationCalls(options);
    const openRequests = new OpenRequests();
    const credentials = await Credentials.open(options, clock, observer);
    const throttle = new RejectionThrottle(options);
    const main = createGrpcServer({
      ...options,
      maxMessageBytes: options.maxImageBytes + MESSAGE_ALLOWANCE_BYTES,
      interceptor: openRequests.watch(
        createAdmissionInterceptor({
          ...options,
          throttle,
          authenticate: (metadata) => credentials.authenticate(metadata.get('authorization')),
        }),
      ),
    });
    main.server.addService(contract.vitserve.v1.ClassificationService.service, {
      ...calls.handlers,
    });
    main.server.addService(contract.grpc.health.v1.Health.service, { ...health.handlers });
    if (options.reflection)
      new ReflectionService(withLinkedDescriptors(definition)).addToServer(main.server);
    const plain = createGrpcServer({
      ...options,
      maxMessageBytes: OTHER_MESSAGE_BYTES,
      interceptor: createAdmissionInterceptor({ ...options, throttle, authenticate: () => {} }),
    });
    plain.server.addService(contract.grpc.health.v1.Health.service, { ...health.handlers });

    const { address, healthAddress, maxConnections } = options;
    const bound = await Promise.allSettled([
      Listener.listen({
        option: 'address',
        address,
        tls: credentials.tls,
        maxConnections,
        clock,
        observer,
        inject: main.inject,
      }),
      healthAddress === null
        ? null
        : Listener.listen({
            option: 'health-address',
            address: healthAddress,
            tls: null,
            maxConnections: MOST_HEALTH_CONNECTIONS,
            clock,
            observer: { ...observer, connectionsOpen: () => {} },
            inject: plain.inject,
          }),
    ]);
    const failures = bound.flatMap((result) =>
      result.status === 'rejected' ? [result.reason] : [],
    );
    const [listener, plainListener] = bound.map((result) =>
      result.status === 'fulfilled' ? result.value : null,
    );
    if (failures.length > 0 || !listener) {
      listener?.close();
      plainListener?.close();
      throw mergeSetupErrors(failures);
    }
    credentials.watch((context) => listener.setTls(context));
    const parts = {
      main,
      listener,
      plain,
      plainListener: plainListener ?? null,
      health,
      calls,
      openRequests,
      credentials,
      throttle,
    };
    return new RpcServer(options, parts);
  }

  /** Looks at the files of certificates and tokens now. */
  async reloadCredentials(): Promise<void> {
    await this.#parts.credentials.look();
  }

  /**
   * A plaintext port on this machine for the server's own first calls, which have no certificate to
   * show; nobody else is answered there, because the server is still starting. To be closed before
   * it is not.
   */
  async listenForWarmUp(): Promise<Listener> {
    return await Listener.listen({
      option: 'warm-up',
      address: { host: '127.0.0.1', port: 0 },
      tls: null,
      maxConnections: 4,
      clock: this.#options.clock,
      observer: { connectionsOpen: () => {}, connectionRefused: () => {} },
      inject: this.#parts.main.inject,
    });
  }

  /**
   * Streams end when what they have sent is answered, and rejections that are held back go out. New
   * calls are the admission's to refuse.
   */
  drainStreams(): void {
    this.#parts.throttle.releaseAll();
    this.#parts.calls.drainStreams();
  }

  /**
   * Takes no further connections and asks those that are open to close, while calls that are on
   * their way are still taken. Resolves when no further ones can come, after `limitMs` at the
   * latest.
   */
  async retireConnections(limitMs: number): Promise<void> {
    const { main, listener } = this.#parts;
    listener.close();
    const { promise: over, cancel } = timeout(limitMs);
    await Promise.race([main.retire(), over]);
    cancel();
  }

  /**
   * Waits for the calls in flight for at most `timeoutMs`, then ends them with DRAINING. Resolves
   * to whether all of them ended by themselves.
   */
  async close(timeoutMs: number): Promise<boolean> {
    const { main, listener, plain, plainListener, calls, openRequests, credentials } = this.#parts;
    this.health.close();
    openRequests.end();
    credentials.stop();
    listener.close();
    // From Node 24 on grpc-js takes its sessions for closed as soon as they have been asked to
    // close.
    const ended = new Promise<boolean>((resolve) =>
      main.server.tryShutdown((error) => resolve(error === undefined)),
    ).then(async (inOrder) => {
      await listener.drained();
      return inOrder;
    });
    const { promise: cut, cancel } = timeout(timeoutMs);
    const inTime = await Promise.race([ended, cut]);
    cancel();
    if (!inTime) {
      calls.cut();
      // The statuses have to reach their callers before the connections go.
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, CUT_GRACE_MS))]);
      main.server.forceShutdown();
    }
    listener.destroy();
    plain.server.forceShutdown();
    plainListener?.destroy();
    return inTime;
  }
}

/** Resolves to false when the time is over. */
function timeout(delayMs: number): { readonly promise: Promise<false>; cancel(): void } {
  let timer: NodeJS.Timeout | undefined;
  const promise = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), delayMs);
  });
  return { promise, cancel: () => clearTimeout(timer) };
}
