/**
 * Callers that cost next to nothing: unary gRPC calls as HTTP/2 frames that were put together
 * before, over one socket.
 *
 * A client library spends 0.6 to 1.3 ms of CPU on a photo, which on a machine of two cores the
 * server then lacks. Real callers run on machines of their own, so what is measured with these
 * comes closer to what they get. Of HTTP/2 there is only what such calls need: HPACK without tables
 * (RFC 7541 §6.2.2), one message a call, windows. A call was answered OK if a message came back: an
 * error is trailers alone, which are not read.
 */
import { connect, type Socket } from 'node:net';
import type { Outcome } from '#vitserve/client/bench/tally.js';

const Frame = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GO_AWAY: 7,
  WINDOW_UPDATE: 8,
} as const;
const Flag = { END_STREAM: 1, END_HEADERS: 4, ACK: 1 } as const;
const Setting = { MAX_CONCURRENT_STREAMS: 3, INITIAL_WINDOW_SIZE: 4, MAX_FRAME_SIZE: 5 } as const;
const LARGEST_WINDOW = 2 ** 31 - 1;

function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  return Buffer.concat([frameHeader(type, flags, stream, payload.length), payload]);
}

function frameHeader(type: number, flags: number, stream: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(9);
  header.writeUIntBE(length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return header;
}

function headerBlock(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

const uint32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

interface OpenCall {
  readonly message: Buffer;
  readonly stream: number;
  readonly end: (outcome: Outcome) => void;
  sent: number;
  window: number;
  hasMessage: boolean;
}

export interface BareTargetOptions {
  readonly address: string;
  /** Encoded requests, sent in turns. */
  readonly messages: readonly Buffer[];
  readonly timeoutMs: number;
  readonly path?: string;
}

export class BareTarget {
  readonly #socket: Socket;
  readonly #messages: readonly Buffer[];
  readonly #headers: Buffer;
  readonly #open = new Map<number, OpenCall>();
  /** Calls for which there is no stream yet. */
  readonly #waiting: OpenCall['end'][] = [];
  readonly #ready: Promise<void>;
  #greeted = () => {};
  #rest: Buffer = Buffer.alloc(0);
  #largestFrame = 16_384;
  #window = 65_535;
  #streamWindow = 65_535;
  #stream = 1;
  #next = 0;
  #mostOpen = 100;
  #lost: Outcome | null = null;

  constructor(options: BareTargetOptions) {
    const { address, messages, timeoutMs } = options;
    const { path = '/vitserve.v1.ClassificationService/Classify' } = options;
    const [host, port] = address.split(':');
    this.#messages = messages.map((message) =>
      Buffer.concat([Buffer.from([0]), uint32(message.length), message]),
    );
    this.#headers = headerBlock([
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', path],
      [':authority', address],
      ['te', 'trailers'],
      ['content-type', 'application/grpc'],
      ['grpc-timeout', `${timeoutMs}m`],
    ]);
    this.#ready = new Promise((resolve) => {
      this.#greeted = resolve;
    });
    this.#socket = connect(Number(port), host);
    this.#socket.setNoDelay(true);
    this.#socket.on('error', (error) => this.#lose(error.message));
    this.#socket.on('close', () => this.#lose('the connection was closed'));
    this.#socket.on('data', (bytes) => this.#read(bytes));
    const ownSettings = Buffer.concat([
      Buffer.from([0, Setting.INITIAL_WINDOW_SIZE]),
      uint32(LARGEST_WINDOW),
    ]);
    this.#socket.write(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
    this.#socket.write(frame(Frame.SETTINGS, 0, 0, ownSettings));
    this.#socket.write(frame(Frame.WINDOW_UPDATE, 0, 0, uint32(LARGEST_WINDOW - 65_535)));
  }

  /** One call. Never rejects; its code is `NOT_OK` for every status but OK. */
  readonly send = async (): Promise<Outcome> => {
    await this.#ready;
    return new Promise((resolve) => {
      if (this.#lost !== null) resolve(this.#lost);
      else if (this.#open.size >= this.#mostOpen) this.#waiting.push(resolve);
      else this.#send(resolve);
    });
  };

  close(): void {
    this.#socket.destroy();
  }

  #lose(message: string): void {
    const lost = this.#lost ?? { code: 'UNAVAILABLE', reason: '', message, timing: null };
    this.#lost = lost;
    this.#greeted();
    for (const { end } of this.#open.values()) end(lost);
    for (const end of this.#waiting.splice(0)) end(lost);
    this.#open.clear();
  }

  #send(end: OpenCall['end']): void {
    const message = this.#messages[this.#next++ % this.#messages.length] as Buffer;
    const stream = this.#stream;
    this.#stream += 2;
    const window = this.#streamWindow;
    const call: OpenCall = { stream, message, sent: 0, window, hasMessage: false, end };
    this.#open.set(stream, call);
    this.#socket.cork();
    this.#socket.write(frame(Frame.HEADERS, Flag.END_HEADERS, stream, this.#headers));
    this.#sendBody(call);
    this.#socket.uncork();
  }

  /** As much as the windows allow. */
  #sendBody(call: OpenCall): void {
    const { stream, message } = call;
    while (call.sent < message.length) {
      const length = Math.min(
        message.length - call.sent,
        this.#largestFrame,
        call.window,
        this.#window,
      );
      if (length === 0) return;
      const isLast = call.sent + length === message.length;
      this.#socket.write(frameHeader(Frame.DATA, isLast ? Flag.END_STREAM : 0, stream, length));
      this.#socket.write(message.subarray(call.sent, call.sent + length));
      call.sent += length;
      call.window -= length;
      this.#window -= length;
    }
  }

  #read(bytes: Buffer): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (rest.length >= 9) {
      const length = rest.readUIntBE(0, 3);
      if (rest.length < 9 + length) break;
      this.#take(
        rest.readUInt8(3),
        rest.readUInt8(4),
        rest.readUInt32BE(5),
        rest.subarray(9, 9 + length),
      );
      rest = rest.subarray(9 + length);
    }
    this.#rest = rest;
  }

  #take(type: number, flags: number, stream: number, payload: Buffer): void {
    if (type === Frame.DATA && payload.length > 0) {
      const call = this.#open.get(stream);
      if (call !== undefined) call.hasMessage = true;
    } else if (type === Frame.HEADERS && (flags & Flag.END_STREAM) !== 0) this.#ended(stream);
    else if (type === Frame.RST_STREAM) this.#ended(stream);
    else if (type === Frame.SETTINGS && (flags & Flag.ACK) === 0) this.#agree(payload);
    else if (type === Frame.PING && (flags & Flag.ACK) === 0)
      this.#socket.write(frame(Frame.PING, Flag.ACK, 0, payload));
    else if (type === Frame.GO_AWAY)
      this.#lose(`the server ends the connection with code ${payload.readUInt32BE(4)}`);
    else if (type === Frame.WINDOW_UPDATE) this.#widen(stream, payload.readUInt32BE(0));
  }

  #widen(stream: number, bytes: number): void {
    if (stream === 0) this.#window += bytes;
    const call = this.#open.get(stream);
    if (call !== undefined) call.window += bytes;
    const held = stream === 0 ? this.#open.values() : call === undefined ? [] : [call];
    for (const each of held) this.#sendBody(each);
  }

  #agree(payload: Buffer): void {
    for (let at = 0; at < payload.length; at += 6) {
      if (payload.readUInt16BE(at) === Setting.MAX_CONCURRENT_STREAMS)
        this.#mostOpen = payload.readUInt32BE(at + 2);
      if (payload.readUInt16BE(at) === Setting.MAX_FRAME_SIZE)
        this.#largestFrame = payload.readUInt32BE(at + 2);
      if (payload.readUInt16BE(at) === Setting.INITIAL_WINDOW_SIZE)
        this.#streamWindow = payload.readUInt32BE(at + 2);
    }
    this.#socket.write(frame(Frame.SETTINGS, Flag.ACK, 0));
    this.#greeted();
  }

  #ended(stream: number): void {
    const call = this.#open.get(stream);
    // An upload that was refused is reset behind its status.
    if (call === undefined) return;
    const { hasMessage, end } = call;
    this.#open.delete(stream);
    const next = this.#waiting.shift();
    if (next !== undefined) this.#send(next);
    end({ code: hasMessage ? 'OK' : 'NOT_OK', reason: '', message: '', timing: null });
  }
}
