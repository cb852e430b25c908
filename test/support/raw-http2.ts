/**
 * HTTP/2 by hand over a socket, for what no library would send: half a preface, floods, malformed
 * frames.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import type { Scope } from './scope.js';

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** RFC 9113 §6. */
export const FRAME = {
  data: 0,
  headers: 1,
  resetStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const END_STREAM = 1;
export const END_HEADERS = 4;

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** HPACK with nothing but literals (RFC 7541 §6.2.2). */
export function headerBlock(fields: Readonly<Record<string, string>>): Buffer {
  const text = (value: string) => Buffer.concat([hpackInteger(value.length), Buffer.from(value)]);
  return Buffer.concat(
    Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

/** With a prefix of 7 bits. */
function hpackInteger(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** The headers of a gRPC call. */
export function callHeaders(
  path: string,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': path,
    ':authority': 'localhost',
    te: 'trailers',
    'content-type': 'application/grpc',
    ...more,
  };
}

/** A received frame. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export class RawSocket {
  readonly socket: Socket;
  /** Resolves when the other end has closed, or the connection is lost. */
  readonly closed: Promise<void>;
  received = Buffer.alloc(0);
  #isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      const onEnd = () => {
        this.#isClosed = true;
        resolve();
      };
      socket.on('close', onEnd);
      socket.on('end', onEnd);
    });
    socket.on('data', (bytes) => {
      this.received = Buffer.concat([this.received, bytes]);
    });
  }

  static async open(
    scope: Scope,
    port: number,
    options: { readonly allowHalfOpen?: boolean } = {},
  ): Promise<RawSocket> {
    const socket = createConnection({ port, host: '127.0.0.1', ...options });
    scope.after(() => socket.destroy());
    const raw = new RawSocket(socket);
    await once(socket, 'connect');
    return raw;
  }

  get isClosed(): boolean {
    return this.#isClosed || this.socket.destroyed;
  }

  /** The same, with HTTP/2 begun. */
  static async http2(scope: Scope, port: number): Promise<RawSocket> {
    const raw = await RawSocket.open(scope, port);
    await raw.send(PREFACE, frame(FRAME.settings, 0, 0));
    return raw;
  }

  /** Resolves when the bytes are on their way, or the connection is closed. */
  async send(...parts: Uint8Array[]): Promise<void> {
    if (this.isClosed) return;
    const written = new Promise<void>((resolve) =>
      this.socket.write(Buffer.concat(parts), () => resolve()),
    );
    await Promise.race([written, this.closed]);
  }

  /** Whether a frame of this type has arrived. */
  has(type: number): boolean {
    return this.count(type) > 0;
  }

  /** How many frames of this type have arrived. */
  count(type: number): number {
    let found = 0;
    for (let at = 0; at + 9 <= this.received.length; at += 9 + this.received.readUIntBE(at, 3)) {
      if (this.received[at + 3] === type) found++;
    }
    return found;
  }

  /** All complete frames, in their order. */
  frames(): readonly Frame[] {
    const frames: Frame[] = [];
    for (let at = 0; at + 9 <= this.received.length; ) {
      const end = at + 9 + this.received.readUIntBE(at, 3);
      if (end > this.received.length) break;
      frames.push({
        type: this.received.readUInt8(at + 3),
        flags: this.received.readUInt8(at + 4),
        stream: this.received.readUInt32BE(at + 5),
        payload: this.received.subarray(at + 9, end),
      });
      at = end;
    }
    return frames;
  }
}
