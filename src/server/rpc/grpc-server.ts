/**
 * A grpc-js server that receives its connections from `listener.ts`, and what bounds a connection:
 * its age, its idle time, the calls on it. `call.ts` bounds the calls themselves.
 */
import type { Socket } from 'node:net';
import { Server, ServerCredentials, type ServerInterceptor } from '@grpc/grpc-js';
import { systemClock } from '../../clock.js';
import { resetLimitsOf } from '../transport/reset-budget.js';
import {
  MAX_CONNECTION_IDLE_MS,
  SessionLife,
  type SessionLifeOptions,
} from '../transport/session-life.js';
import { answerForeignRequests } from '../workarounds/foreign-requests.js';
import { changeSessionOptions, onSession } from '../workarounds/server-inside.js';
import { readTimeouts } from '../workarounds/timeouts.js';
import { widenConnectionWindows, widenStreamWindows } from '../workarounds/upload-window.js';

/** Concurrent calls on one connection; a client library makes further ones wait. */
export const MOST_CALLS_OF_A_CONNECTION = 1000;
/** After this long without traffic the server pings the connection, and ends it without a reply. */
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

export interface GrpcServer {
  readonly server: Server;
  /** Takes a connection, in plaintext or after its TLS handshake. */
  readonly inject: (connection: Socket) => void;
  /** Asks every connection to close. Resolves when the clients know which calls were taken. */
  readonly retire: () => Promise<void>;
}

export interface GrpcServerOptions extends Pick<SessionLifeOptions, 'maxConnectionAgeMs'> {
  /** Default: MAX_CONNECTION_IDLE_MS. */
  readonly maxConnectionIdleMs?: number;
  readonly maxMessageBytes: number;
  readonly interceptor: ServerInterceptor;
  readonly clock?: SessionLifeOptions['clock'];
}

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const {
    maxMessageBytes,
    interceptor,
    maxConnectionIdleMs = MAX_CONNECTION_IDLE_MS,
    maxConnectionAgeMs,
    clock = systemClock,
  } = options;
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    // It counts every call for a debugging service that this server does not offer.
    'grpc.enable_channelz': 0,
    'grpc.max_concurrent_streams': MOST_CALLS_OF_A_CONNECTION,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    interceptors: [interceptor],
  });
  const resetLimits = resetLimitsOf(process.versions.node);
  changeSessionOptions(server, (each) => {
    each.streamResetBurst = resetLimits.burst;
    each.streamResetRate = resetLimits.perSecond;
  });
  widenStreamWindows(server);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  widenConnectionWindows(server);
  answerForeignRequests(server);
  readTimeouts(server);

  const lives = new Set<SessionLife>();
  /** A session begins while its connection is injected, and has no public way to its socket. */
  let injected: Socket | null = null;
  onSession(server, (session) => {
    if (injected === null) return;
    const life = new SessionLife(session, injected, {
      clock,
      maxConnectionIdleMs,
      maxConnectionAgeMs,
      resetLimits,
    });
    lives.add(life);
    session.on('close', () => lives.delete(life));
  });
  return {
    server,
    inject: (connection) => {
      injected = connection;
      injector.injectConnection(connection);
      injected = null;
    },
    retire: async () => {
      await Promise.all([...lives].map((life) => life.retire()));
    },
  };
}
