/**
 * Callers that cost next to nothing: unary gRPC calls as HTTP/2 frames that were put together before, over one socket.
 *
 * A client library spends 0.6 to 1.3 ms of CPU on a photo, which on a machine of two cores the server then lacks. Real callers
 * run on machines of their own, so what is measured with these comes closer to what they get. Of HTTP/2 there is only what
 * such calls need: HPACK without tables (RFC 7541 §6.2.2), one message a call, windows. A call was
 * answered OK if a message came back: an error is trailers alone.
 */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const [DATA, HEADERS, SETTINGS, PING, GO_AWAY, WINDOW_UPDATE] = [0, 1, 4, 6, 7, 8];
const [END_STREAM, END_HEADERS, ACK] = [1, 4, 1];
const [INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE] = [4, 5];
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
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

const uint32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export class BareCallers {
  #socket;
  #messages;
  #headers;
  #callers;
  #rest = Buffer.alloc(0);
  #largestFrame = 16_384;
  #window = 65_535;
  #streamWindow = 65_535;
  #stream = 1;
  #next = 0;
  #open = new Map();
  #running = false;
  #failure = null;
  #greeted;
  answered = 0;
  failed = 0;
  latenciesMs = [];

  /** `messages`: encoded requests, sent in turns. */
  constructor(address, messages, callers) {
    const [host, port] = address.split(':');
    this.#callers = callers;
    this.#messages = messages.map((message) => Buffer.concat([Buffer.from([0]), uint32(message.length), message]));
    this.#headers = headerBlock([
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', '/vitserve.v1.ClassificationService/Classify'],
      [':authority', address],
      ['te', 'trailers'],
      ['content-type', 'application/grpc'],
      ['grpc-timeout', '60S'],
    ]);
    this.#socket = connect(Number(port), host);
    this.#socket.setNoDelay(true);
    this.#socket.on('error', (error) => {
      this.#failure = error;
    });
    this.#socket.on('data', (bytes) => this.#read(bytes));
    const ownSettings = Buffer.concat([Buffer.from([0, INITIAL_WINDOW_SIZE]), uint32(LARGEST_WINDOW)]);
    this.#socket.write(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
    this.#socket.write(frame(SETTINGS, 0, 0, ownSettings));
    this.#socket.write(frame(WINDOW_UPDATE, 0, 0, uint32(LARGEST_WINDOW - 65_535)));
    this.ready = new Promise((resolve) => {
      this.#greeted = resolve;
    });
  }

  /** Closed loop for so long; then waits for the answers under way. */
  async run(seconds) {
    await this.ready;
    this.#running = true;
    this.answered = 0;
    this.failed = 0;
    this.latenciesMs = [];
    const startedAt = performance.now();
    const cpuBefore = process.cpuUsage();
    for (let caller = this.#open.size; caller < this.#callers; caller++) this.#send();
    await sleep(seconds * 1000);
    const { user, system } = process.cpuUsage(cpuBefore);
    const elapsed = (performance.now() - startedAt) / 1000;
    const { answered, failed } = this;
    this.#running = false;
    while (this.#open.size > 0 && this.#failure === null) await sleep(5);
    if (this.#failure !== null) throw this.#failure;
    this.latenciesMs.sort((one, other) => one - other);
    const at = (share) => this.latenciesMs[Math.floor(share * this.latenciesMs.length)];
    return {
      perSecond: answered / elapsed,
      failed,
      cpuMsPerCall: (user + system) / 1000 / answered,
      latencyMs: { p50: at(0.5), p99: at(0.99) },
    };
  }

  close() {
    this.#socket.destroy();
  }

  #send() {
    const message = this.#messages[this.#next++ % this.#messages.length];
    const stream = this.#stream;
    this.#stream += 2;
    const call = { stream, message, sent: 0, window: this.#streamWindow, at: performance.now(), hasMessage: false };
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
      const length = Math.min(message.length - call.sent, this.#largestFrame, call.window, this.#window);
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
    if (type === DATA && payload.length > 5) this.#open.get(stream).hasMessage = true;
    else if (type === HEADERS && (flags & END_STREAM) !== 0) this.#ended(stream);
    else if (type === SETTINGS && (flags & ACK) === 0) this.#agree(payload);
    else if (type === PING && (flags & ACK) === 0) this.#socket.write(frame(PING, ACK, 0, payload));
    else if (type === GO_AWAY) this.#failure = new Error('the server has ended the connection');
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
      if (payload.readUInt16BE(at) === MAX_FRAME_SIZE) this.#largestFrame = payload.readUInt32BE(at + 2);
      if (payload.readUInt16BE(at) === INITIAL_WINDOW_SIZE) this.#streamWindow = payload.readUInt32BE(at + 2);
    }
    this.#socket.write(frame(SETTINGS, ACK, 0));
    this.#greeted();
  }

  #ended(stream) {
    const { at, hasMessage } = this.#open.get(stream);
    this.#open.delete(stream);
    if (hasMessage) this.answered++;
    else this.failed++;
    if (!this.#running) return;
    this.latenciesMs.push(performance.now() - at);
    this.#send();
  }
}
