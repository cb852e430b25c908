/**
 * The gRPC server: one port with the ClassificationService, health and, if asked for, reflection.
 */
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { loadContract } from '../contract/contract.js';
import { messageOf, SetupError } from '../errors.js';
import { createAdmissionInterceptor } from './admission-interceptor.js';
import { ClassificationCalls, type ClassificationOptions } from './classification-calls.js';
import { Health } from './health.js';
import { withLinkedDescriptors } from './reflection.js';
import { widenConnectionWindows, widenStreamWindows } from './upload-window.js';

// What grpc-js prints of errors, bypassing the log, arrives as errors as well.
setLogVerbosity(logVerbosity.NONE);

/** How long calls that were cut may take to be told so. */
const CUT_GRACE_MS = 200;

/** Room in a message beside the image, so that an image slightly too large gets an error that says so. */
const MESSAGE_ALLOWANCE_BYTES = 64 * 1024;

export interface RpcServerOptions extends ClassificationOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly maxImageBytes: number;
  readonly reflection: boolean;
  /** Calls that carry it are taken while the server is starting. */
  readonly warmUpToken: string;
}

export class RpcServer {
  readonly health: Health;
  readonly port: number;
  readonly #server: Server;
  readonly #calls: ClassificationCalls;

  private constructor(server: Server, port: number, health: Health, calls: ClassificationCalls) {
    this.#server = server;
    this.port = port;
    this.health = health;
    this.#calls = calls;
  }

  /** Listens from here on. Rejects with SetupError when the address can't be had. */
  static async listen(options: RpcServerOptions): Promise<RpcServer> {
    const { definition, contract } = loadContract();
    const health = new Health();
    const calls = new ClassificationCalls(options);
    const server = new Server({
      'grpc.max_receive_message_length': options.maxImageBytes + MESSAGE_ALLOWANCE_BYTES,
      // Its accounting on every call serves a tool that is not offered here.
      'grpc.enable_channelz': 0,
      interceptors: [createAdmissionInterceptor(options)],
    });
    widenStreamWindows(server);
    server.addService(contract.vitserve.v1.ClassificationService.service, { ...calls.handlers });
    server.addService(contract.grpc.health.v1.Health.service, { ...health.handlers });
    if (options.reflection) new ReflectionService(withLinkedDescriptors(definition)).addToServer(server);

    const { host, port } = options;
    const target = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(target, ServerCredentials.createInsecure(), (error, boundPort) => {
        if (error === null) return resolve(boundPort);
        const cause = /errors: \[(.*)\]$/.exec(messageOf(error))?.[1] ?? messageOf(error);
        const text = `address: can't listen on ${target} (${cause}): end what uses it, or choose another address`;
        reject(new SetupError('environment', [text]));
      });
    });
    widenConnectionWindows(server);
    return new RpcServer(server, bound, health, calls);
  }

  /** Streams end when what they have sent is answered. New calls are the admission's to refuse. */
  drainStreams(): void {
    this.#calls.drainStreams();
  }

  /** Waits for the calls in flight for at most `timeoutMs`, then ends them with DRAINING. Resolves to whether all of them ended by themselves. */
  async close(timeoutMs: number): Promise<boolean> {
    this.health.close();
    const ended = new Promise<boolean>((resolve) => this.#server.tryShutdown((error) => resolve(error === undefined)));
    let timer: NodeJS.Timeout | undefined;
    const cut = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const inTime = await Promise.race([ended, cut]);
    clearTimeout(timer);
    if (!inTime) {
      this.#calls.cut();
      // The statuses have to reach their callers before the connections go.
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, CUT_GRACE_MS))]);
      this.#server.forceShutdown();
    }
    return inTime;
  }
}
