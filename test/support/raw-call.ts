/**
 * A gRPC call made by hand over HTTP/2, for what client libraries do not allow: stop in the middle
 * of a message, send a deadline without keeping it, count the bytes that a server takes.
 */
import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import { createConnection, createServer, type Socket } from 'node:net';
import { messageType, SERVICE } from './grpc-client.js';
import type { Scope } from './scope.js';

export interface RawEnding {
  /**
   * The trailers (or headers, if there was nothing else). Empty if the stream was cut without any.
   */
  readonly headers: IncomingHttpHeaders;
  /** From the call's start to its status. */
  readonly afterMs: number;
}

export class RawConnection {
  readonly #session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  /** `windowBytes`: how much of each call's answer the server may send before it is read. */
  static async open(
    scope: Scope,
    port: number,
    { windowBytes }: { readonly windowBytes?: number } = {},
  ): Promise<RawConnection> {
    const settings = windowBytes === undefined ? {} : { initialWindowSize: windowBytes };
    const session = connect(`http://127.0.0.1:${port}`, { settings });
    session.on('error', () => {});
    scope.after(() => session.destroy());
    await once(session, 'connect');
    return new RawConnection(session);
  }

  get closed(): boolean {
    return this.#session.closed || this.#session.destroyed;
  }

  /** Resolves when the server has seen everything sent before. */
  async ping(): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.closed || !this.#session.ping(() => resolve())) resolve();
    });
  }

  /** Changes the window of calls that are open, too. */
  async setWindow(bytes: number): Promise<void> {
    await new Promise<void>((resolve) =>
      this.#session.settings({ initialWindowSize: bytes }, () => resolve()),
    );
  }

  /**
   * Begins a call; `grpcTimeout` is the header's own text, such as `150m` for 150 ms, and so is
   * `encoding`.
   */
  begin(
    method: string,
    more: { readonly grpcTimeout?: string; readonly encoding?: string } = {},
  ): RawCall {
    const { grpcTimeout, encoding } = more;
    return this.beginPath(`/${SERVICE}/${method}`, {
      ...(grpcTimeout === undefined ? {} : { 'grpc-timeout': grpcTimeout }),
      ...(encoding === undefined ? {} : { 'grpc-encoding': encoding }),
    });
  }

  /** The same for any service, with further headers. */
  beginPath(path: string, more: Readonly<Record<string, string>> = {}): RawCall {
    return new RawCall(
      this.#session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...more,
      }),
    );
  }
}

export class RawCall {
  readonly #stream: ClientHttp2Stream;
  /** Resolves when the call has its status, or is cut without one. */
  readonly ended: Promise<RawEnding>;
  /** The answers, with the length before each message; resolves when there are no more. */
  readonly body: Promise<Buffer>;
  /** Resolves with HTTP/2's error code when both sides have ended, or the call was reset. */
  readonly closed: Promise<number>;

  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    this.body = new Promise((resolve) => {
      for (const event of ['end', 'close']) stream.on(event, () => resolve(Buffer.concat(chunks)));
    });
    this.closed = new Promise((resolve) => stream.on('close', () => resolve(stream.rstCode ?? -1)));
    const begunAt = performance.now();
    this.ended = new Promise((resolve) => {
      const onHeaders = (headers: IncomingHttpHeaders) => {
        if (headers['grpc-status'] !== undefined)
          resolve({ headers, afterMs: performance.now() - begunAt });
      };
      stream.on('response', onHeaders);
      stream.on('trailers', onHeaders);
      stream.on('close', () => resolve({ headers: {}, afterMs: performance.now() - begunAt }));
    });
    stream.on('error', () => {});
  }

  write(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  /**
   * Sends as fast as the other end allows, piece by piece, until all is sent or the call is closed.
   */
  async writeAll(bytes: Uint8Array): Promise<void> {
    const PIECE_BYTES = 64 * 1024;
    for (let at = 0; at < bytes.length && !this.#stream.closed; at += PIECE_BYTES) {
      const sent = new Promise((resolve) =>
        this.#stream.write(bytes.subarray(at, at + PIECE_BYTES), resolve),
      );
      await Promise.race([sent, this.closed]);
    }
  }

  finish(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }
}

/** The messages of a body. */
export function messagesIn(body: Buffer, type: string): unknown[] {
  const messages: unknown[] = [];
  for (let at = 0; at + 5 <= body.length; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    messages.push(messageType(type).deserialize(body.subarray(at + 5, end)));
    at = end;
  }
  return messages;
}

/** A message as on the wire: uncompressed, with its length before it. */
export function framed(request: object, type = 'vitserve.v1.ClassifyRequest'): Buffer {
  const message = messageType(type).serialize(request);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** The reason in a call's status details; the packed bytes hold it as plain text. */
export function reasonIn(headers: IncomingHttpHeaders): string | null {
  const packed = headers['grpc-status-details-bin'];
  if (typeof packed !== 'string') return null;
  const status = messageType('google.rpc.Status').deserialize(Buffer.from(packed, 'base64')) as {
    details: { value: Buffer }[];
  };
  const [info] = status.details;
  if (info === undefined) return null;
  return (messageType('google.rpc.ErrorInfo').deserialize(info.value) as { reason: string }).reason;
}

/**
 * Forwards connections and counts them, and the bytes towards the server. `cut` breaks them off.
 */
export async function countingProxy(
  scope: Scope,
  port: number,
): Promise<{ readonly port: number; bytesToServer(): number; connections(): number; cut(): void }> {
  let bytes = 0;
  let connections = 0;
  const sockets = new Set<Socket>();
  const proxy = createServer((near) => {
    connections++;
    const far = createConnection(port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (chunk) => {
      bytes += chunk.length;
    });
    near.pipe(far);
    far.pipe(near);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  scope.after(() => {
    cut();
    proxy.close();
  });
  return {
    port: (proxy.address() as { port: number }).port,
    bytesToServer: () => bytes,
    connections: () => connections,
    cut,
  };
}
