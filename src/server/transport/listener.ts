/**
 * A port that passes its connections to a gRPC server. Because it owns the socket, it can limit the
 * number of connections and the time of their handshake, change the certificate, and end
 * connections whose client breaks HTTP/2 (`workarounds/stalled-sessions.ts`).
 *
 * grpc-js takes connections from outside (`createConnectionInjector`), TLS ones too, and Node's TLS
 * server takes new certificates at any time (`setSecureContext`); both are public. Open connections
 * keep their certificate.
 */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type TLSSocket,
  type Server as TlsServer,
} from 'node:tls';
import { type Address, formatAddress } from '../../cli/value-types.js';
import type { Clock } from '../../clock.js';
import { messageOf, SetupError } from '../../errors.js';
import { listenProblem } from '../../system/system-errors.js';
import type { RefusalCause, Report } from '../telemetry/events.js';
import { onStalled } from '../workarounds/stalled-sessions.js';
import { answerHttp1, FOREIGN, onFirstBytes, type Spoken } from './first-bytes.js';

export interface ListenerOptions {
  /** The option that names the address, for messages. */
  readonly option: string;
  /** Port 0: any free one. */
  readonly address: Address;
  /** null: plaintext. With `ca`, callers need a certificate that one of these has signed. */
  readonly tls: SecureContextOptions | null;
  readonly maxConnections: number;
  readonly clock: Clock;
  readonly report: Report;
  /** Passes a connection to the gRPC server. */
  readonly inject: (connection: Socket) => void;
  readonly handshakeTimeoutMs?: number;
  readonly lingerMs?: number;
}

/** For TLS, and again for the start of HTTP/2. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** How long the client may take to close after the server has closed. */
const LINGER_MS = 5_000;
/** The HTTP/2 preface and the header of the SETTINGS frame that has to follow (RFC 9113 §3.4). */
const PREFACE_BYTES = 24 + 9;

/** Codes of OpenSSL for a connection without TLS. */
const PLAINTEXT = /^ERR_SSL_(HTTP_REQUEST|HTTPS_PROXY_REQUEST|WRONG_VERSION_NUMBER)$/;
const NO_CERTIFICATE = 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE';

export class Listener {
  readonly #options: ListenerOptions;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  /** Connections that the gRPC server has: the TLS sockets where there is TLS. */
  readonly #handed = new Set<Socket>();
  readonly #tls: TlsServer | null;
  #closed = false;

  private constructor(options: ListenerOptions) {
    this.#options = options;
    this.#tls = options.tls === null ? null : this.#createTls(options.tls);
  }

  /** Rejects with SetupError where the address cannot be bound. */
  static async listen(options: ListenerOptions): Promise<Listener> {
    const listener = new Listener(options);
    const { host, port } = options.address;
    try {
      // A name such as localhost may have several addresses, and callers choose any of them.
      const addresses = await lookup(host, { all: true });
      const failures: unknown[] = [];
      for (const { address } of addresses) {
        await listener
          .#bind(address, port === 0 ? listener.#portOr(0) : port)
          .catch((error) => failures.push(error));
      }
      if (listener.#servers.length === 0) throw failures[0];
    } catch (error) {
      throw new SetupError('environment', [listenProblem(options.option, options.address, error)]);
    }
    return listener;
  }

  get port(): number {
    return this.#portOr(this.#options.address.port);
  }

  /** Sets the TLS context of new connections. Throws and changes nothing where it is unusable. */
  setTls(context: SecureContextOptions): void {
    this.#tls?.setSecureContext(context);
  }

  /** The number of open connections. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Accepts no further connections. */
  close(): void {
    this.#closed = true;
    for (const server of this.#servers) server.close();
  }

  /** Resolves when every connection of the gRPC server has closed, which its shutdown causes. */
  async drained(): Promise<void> {
    for (const connection of this.#handed) {
      if (!connection.closed) await new Promise((resolve) => connection.on('close', resolve));
    }
  }

  /** Ends the remaining connections. */
  destroy(): void {
    this.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #portOr(other: number): number {
    const address = this.#servers[0]?.address() as AddressInfo | null | undefined;
    return address?.port ?? other;
  }

  async #bind(host: string, port: number): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    server.listen(port, host);
    await once(server, 'listening');
    this.#servers.push(server);
  }

  #accept(socket: Socket): void {
    const { maxConnections } = this.#options;
    if (this.#sockets.size >= maxConnections) {
      this.#refuse('limit', socket, `${maxConnections} connections are open`);
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    if (this.#tls === null) this.#hand(socket);
    else this.#tls.emit('connection', socket);
  }

  #createTls(context: SecureContextOptions): TlsServer {
    const { handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS } = this.#options;
    const server = createTlsServer({
      ...context,
      ALPNProtocols: ['h2'],
      handshakeTimeout: handshakeTimeoutMs,
      requestCert: context.ca !== undefined,
      rejectUnauthorized: true,
    });
    server.on('secureConnection', (socket) => this.#hand(socket));
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      const cause = causeOf(error, socket);
      // A client that only connects and closes, such as a port probe, was not rejected.
      if (cause !== null) this.#refuse(cause, socket, detailOf(error, socket));
      socket.destroy();
    });
    return server;
  }

  /** Passes the connection on, with a time limit for the start of HTTP/2. */
  #hand(connection: Socket): void {
    const {
      clock,
      handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS,
      lingerMs = LINGER_MS,
    } = this.#options;
    if (this.#closed) {
      connection.destroy();
      return;
    }
    const bytesBefore = connection.bytesRead;
    const cancelTimer = clock.after(handshakeTimeoutMs, () => {
      if (connection.bytesRead - bytesBefore >= PREFACE_BYTES) return;
      this.#refuse('handshake_timeout', connection, 'HTTP/2 did not begin in time');
      connection.destroy();
    });
    const cancelWatch = onStalled(connection, clock, () => connection.destroy());
    let cancelLinger = () => {};
    connection.on('error', () => {});
    connection.on('finish', () => {
      cancelLinger = clock.after(lingerMs, () => connection.destroy());
    });
    connection.on('close', () => {
      this.#handed.delete(connection);
      cancelTimer();
      cancelLinger();
      cancelWatch();
    });
    onFirstBytes(connection, (spoken) => this.#begin(connection, spoken));
  }

  #begin(connection: Socket, spoken: Spoken): void {
    const { inject } = this.#options;
    if (spoken === 'http1' || spoken === 'tls') {
      this.#refuse('protocol', connection, FOREIGN[spoken]);
      if (spoken === 'http1') answerHttp1(connection);
      else connection.destroy();
    } else if (this.#closed) connection.destroy();
    else {
      this.#handed.add(connection);
      inject(connection);
    }
  }

  #refuse(cause: RefusalCause, connection: Socket, detail: string): void {
    this.#options.report({ kind: 'connection-refused', cause, peer: peerOf(connection), detail });
  }
}

function causeOf(error: NodeJS.ErrnoException, socket: TLSSocket): RefusalCause | null {
  if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'handshake_timeout';
  if (PLAINTEXT.test(error.code ?? '')) return 'protocol';
  if (socket.authorizationError || error.code === NO_CERTIFICATE) return 'client_certificate';
  return error.code === 'ECONNRESET' ? null : 'tls';
}

function detailOf(error: NodeJS.ErrnoException, socket: TLSSocket): string {
  if (PLAINTEXT.test(error.code ?? '')) return FOREIGN.plaintext;
  return String(socket.authorizationError || error.code || messageOf(error));
}

function peerOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return formatAddress({ host: remoteAddress, port: remotePort });
}
