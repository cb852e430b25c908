/**
 * A grpc-js server that is given its connections, and what bounds them: their age, their idleness, the calls on one. What
 * bounds the calls themselves is `door.ts`, and who comes this far is `listener.ts`.
 */
import type { Socket } from 'node:net';
import { Server, ServerCredentials, type ServerInterceptor, type ServerOptions } from '@grpc/grpc-js';
import { readTimeouts } from './timeouts.js';
import { widenConnectionWindows, widenStreamWindows } from './upload-window.js';

/** Calls at a time on one connection; a client library makes further ones wait. */
export const MOST_CALLS_OF_A_CONNECTION = 1000;
/** A connection on which nothing moves for so long is asked for a sign of life, and ended without one. */
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

export interface GrpcServer {
  readonly server: Server;
  /** Takes a connection. TLS, where there is any, has been dealt with before. */
  readonly inject: (connection: Socket) => void;
}

export function createGrpcServer(options: {
  readonly maxMessageBytes: number;
  /** 0: for ever. */
  readonly maxConnectionIdleMs: number;
  /** 0: for ever. Calls that are open then may take as long again. */
  readonly maxConnectionAgeMs: number;
  readonly interceptor: ServerInterceptor;
}): GrpcServer {
  const { maxMessageBytes, maxConnectionIdleMs, maxConnectionAgeMs, interceptor } = options;
  const channelOptions: ServerOptions = {
    'grpc.max_receive_message_length': maxMessageBytes,
    // Its accounting on every call serves a tool that is not offered here.
    'grpc.enable_channelz': 0,
    'grpc.max_concurrent_streams': MOST_CALLS_OF_A_CONNECTION,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    ...(maxConnectionIdleMs === 0 ? {} : { 'grpc.max_connection_idle_ms': maxConnectionIdleMs }),
    ...(maxConnectionAgeMs === 0
      ? {}
      : { 'grpc.max_connection_age_ms': maxConnectionAgeMs, 'grpc.max_connection_age_grace_ms': maxConnectionAgeMs }),
    interceptors: [interceptor],
  };
  const server = new Server(channelOptions);
  widenStreamWindows(server);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  widenConnectionWindows(server);
  readTimeouts(server);
  return { server, inject: (connection) => injector.injectConnection(connection) };
}
