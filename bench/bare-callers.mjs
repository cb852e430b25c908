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
import { connect } from 'node:net';

const [DATA, HEADERS, RST_STREAM, SETTINGS, PING, GO_AWAY, WINDOW_UPDATE] = [0, 1, 3, 4, 6, 7, 8];
const [END_STREAM, END_HEADERS, ACK] = [1, 4, 1];
const [MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE] = [3, 4, 5];
const LARGEST_WINDOW = 2 ** 31 - 1;

function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  return Buffer.concat([frameHeader(type, flags, stream, payload.length), payload]);
}

function frameHeader(type, flags, stream, length) {
  const header = Buffer.allocUnsafe(9);
  header.writeUIntBE(length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return header;
}

function headerBlock(fields) {
  const text = (value) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

const uint32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export class BareTarget {
  #socket;
  #messages;
  #headers;
  #rest = Buffer.alloc(0);
  #largestFrame = 16_384;
  #window = 65_535;
  #streamWindow = 65_535;
  #stream = 1;
  #next = 0;
  #mostOpen = 100;
  #open = new Map();
  /** Calls for which there is no stream yet. */
  #waiting = [];
  #lost = null;
  #greeted;
  #ready;

  /** `messages`: encoded requests, sent in turns. */
  constructor({
    address,
    messages,
    timeoutMs,
    path = '/vitserve.v1.ClassificationService/Classify',
  }) {
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
    this.#socket = connect(Number(port), host);
    this.#socket.setNoDelay(true);
    this.#socket.on('error', (error) => this.#lose(error.message));
    this.#socket.on('close', () => this.#lose('the connection was closed'));
    this.#socket.on('data', (bytes) => this.#read(bytes));
    const ownSettings = Buffer.concat([
      Buffer.from([0, INITIAL_WINDOW_SIZE]),
      uint32(LARGEST_WINDOW),
    ]);
    this.#socket.write(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
    this.#socket.write(frame(SETTINGS, 0, 0, ownSettings));
    this.#socket.write(frame(WINDOW_UPDATE, 0, 0, uint32(LARGEST_WINDOW - 65_535)));
    this.#ready = new Promise((resolve) => {
      this.#greeted = resolve;
    });
  }

  /**
   * One call. Never rejects; resolves to an `Outcome` of src/client/bench/tally.ts, with `NOT_OK`
   * for every status but OK.
   */
  send = async () => {
    await this.#ready;
    return new Promise((resolve) => {
      if (this.#lost !== null) resolve(this.#lost);
      else if (this.#open.size >= this.#mostOpen) this.#waiting.push(resolve);
      else this.#send(resolve);
    });
  };

  close() {
    this.#socket.destroy();
  }

  #lose(message) {
    this.#lost ??= { code: 'UNAVAILABLE', reason: '', message, timing: null };
    for (const { end } of this.#open.values()) end(this.#lost);
    for (const end of this.#waiting.splice(0)) end(this.#lost);
    this.#open.clear();
  }

  #send(end) {
    const message = this.#messages[this.#next++ % this.#messages.length];
    const stream = this.#stream;
    this.#stream += 2;
    const call = { stream, message, sent: 0, window: this.#streamWindow, hasMessage: false, end };
    this.#open.set(stream, call);
    this.#socket.cork();
    this.#socket.write(frame(HEADERS, END_HEADERS, stream, this.#headers));
    this.#sendBody(call);
    this.#socket.uncork();
  }

  /** As much as the windows allow. */
  #sendBody(call) {
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
      this.#socket.write(frameHeader(DATA, isLast ? END_STREAM : 0, stream, length));
      this.#socket.write(message.subarray(call.sent, call.sent + length));
      call.sent += length;
      call.window -= length;
      this.#window -= length;
    }
  }

  #read(bytes) {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (rest.length >= 9) {
      const length = rest.readUIntBE(0, 3);
      if (rest.length < 9 + length) break;
      this.#take(rest[3], rest[4], rest.readUInt32BE(5), rest.subarray(9, 9 + length));
      rest = rest.subarray(9 + length);
    }
    this.#rest = rest;
  }

  #take(type, flags, stream, payload) {
    if (type === DATA && payload.length > 0) this.#open.get(stream).hasMessage = true;
    else if (type === HEADERS && (flags & END_STREAM) !== 0) this.#ended(stream);
    else if (type === RST_STREAM) this.#ended(stream);
    else if (type === SETTINGS && (flags & ACK) === 0) this.#agree(payload);
    else if (type === PING && (flags & ACK) === 0) this.#socket.write(frame(PING, ACK, 0, payload));
    else if (type === GO_AWAY) this.#lose('the server has ended the connection');
    else if (type === WINDOW_UPDATE) this.#widen(stream, payload.readUInt32BE(0));
  }

  #widen(stream, bytes) {
    if (stream === 0) this.#window += bytes;
    const call = this.#open.get(stream);
    if (call !== undefined) call.window += bytes;
    const held = stream === 0 ? this.#open.values() : call === undefined ? [] : [call];
    for (const each of held) this.#sendBody(each);
  }

  #agree(payload) {
    for (let at = 0; at < payload.length; at += 6) {
      if (payload.readUInt16BE(at) === MAX_CONCURRENT_STREAMS)
        this.#mostOpen = payload.readUInt32BE(at + 2);
      if (payload.readUInt16BE(at) === MAX_FRAME_SIZE)
        this.#largestFrame = payload.readUInt32BE(at + 2);
      if (payload.readUInt16BE(at) === INITIAL_WINDOW_SIZE)
        this.#streamWindow = payload.readUInt32BE(at + 2);
    }
    this.#socket.write(frame(SETTINGS, ACK, 0));
    this.#greeted();
  }

  #ended(stream) {
    const call = this.#open.get(stream);
    // An upload that was refused is reset behind its status.
    if (call === undefined) return;
    const { hasMessage, end } = call;
    this.#open.delete(stream);
    if (this.#waiting.length > 0) this.#send(this.#waiting.shift());
    end({ code: hasMessage ? 'OK' : 'NOT_OK', reason: '', message: '', timing: null });
  }
}
