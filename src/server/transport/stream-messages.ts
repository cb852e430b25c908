/**
 * Cuts the body of a stream into its messages, in place of grpc-js's decoder, which ends the whole
 * call at a message that is too long.
 *
 * It discards such a message except its request_id, wherever that is in it. In its turn the handler
 * gets a message with that id alone, and `rejectionOf` says why. So the other images of the stream
 * are answered normally. A message that announces more than SKIPPED_TIMES the limit is not read to
 * its end: it is the last of the stream.
 *
 * What it costs: no more than grpc-js's decoder. A skipped message takes at most MOST_ID_BYTES of
 * memory, a compressed one as much as an allowed one.
 */
import { RequestError } from '../../errors.js';
import type { CutterOptions, MessageCutter } from '../workarounds/body.js';
import { FieldScanner } from './field-scanner.js';
import { Inflation } from './inflation.js';

/** gRPC over HTTP/2: a flag and a length. */
const PREFIX_BYTES = 5;
/** `request_id` of ClassifyStreamRequest and EmbedStreamRequest. */
const ID_FIELD = 1;
/** A longer id is not returned. */
export const MOST_ID_BYTES = 16 * 1024;
/** A message up to this multiple of the limit is skipped. */
export const SKIPPED_TIMES = 16;
/** How much of a message that is not read to its end is searched for its id. */
const SEARCHED_BYTES = 64 * 1024;

export interface Rejection {
  readonly error: RequestError;
  /** Nothing can be read after this message. */
  readonly endsStream: boolean;
}

export interface StreamMessagesOptions extends CutterOptions {
  /** The limit of an image, for error messages. */
  readonly maxImageBytes: number;
}

/** Takes the bytes of one message. */
interface Sink {
  write(bytes: Buffer): void;
  /** The message in its frame, as grpc-js's decoder would return it. */
  end(): Buffer;
}

export class StreamMessages implements MessageCutter {
  readonly #options: StreamMessagesOptions;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixBytes = 0;
  /** The current message; null: between two messages. */
  #sink: Sink | null = null;
  /** Bytes of it that are still to come. */
  #left = 0;
  /** Whether nothing is read after it. */
  #isLast = false;
  #stopped = false;
  readonly #inflations = new Map<Buffer, Promise<Buffer>>();
  #inflation: Inflation | null = null;
  /**
   * One for each message that was cut out and has not been handed to the call yet, in their order.
   */
  readonly #verdicts: { rejection: Rejection | null }[] = [];
  readonly #rejections = new WeakMap<object, Rejection>();

  constructor(options: StreamMessagesOptions) {
    this.#options = options;
  }

  /** The messages that these bytes complete, each in its frame. */
  write(bytes: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    for (let at = 0; at < bytes.length && !this.#stopped; ) {
      if (this.#sink === null) {
        this.#prefix[this.#prefixBytes++] = bytes[at++] as number;
        if (this.#prefixBytes < PREFIX_BYTES) continue;
        this.#prefixBytes = 0;
        this.#sink = this.#begin(this.#prefix.readUInt8(0), this.#prefix.readUInt32BE(1));
      } else {
        const piece = bytes.subarray(at, at + this.#left);
        this.#sink.write(piece);
        this.#left -= piece.length;
        at += piece.length;
      }
      if (this.#left > 0) continue;
      messages.push(this.#sink.end());
      this.#sink = null;
      this.#stopped = this.#isLast;
    }
    return messages;
  }

  /** Some of a message has come, and not all of it. */
  get isWithinMessage(): boolean {
    return !this.#stopped && (this.#sink !== null || this.#prefixBytes > 0);
  }

  /** The decompressed content of a message; null: grpc-js decompresses it itself. */
  contentOf(message: Buffer): Promise<Buffer> | null {
    const content = this.#inflations.get(message);
    this.#inflations.delete(message);
    return content ?? null;
  }

  /** Call it for every message that comes out of grpc-js, in order. */
  onMessage(message: object): void {
    const rejection = this.#verdicts.shift()?.rejection;
    if (rejection) this.#rejections.set(message, rejection);
  }

  /** The error that answers this message; null: the message is whole. */
  rejectionOf(message: object): Rejection | null {
    return this.#rejections.get(message) ?? null;
  }

  /** The call has ended: reads nothing more. */
  destroy(): void {
    this.#stopped = true;
    this.#sink = null;
    this.#inflation?.destroy();
  }

  #begin(flag: number, length: number): Sink {
    const { maxMessageBytes, encoding } = this.#options;
    this.#isLast = length > SKIPPED_TIMES * maxMessageBytes;
    this.#left = this.#isLast ? Math.min(length, SEARCHED_BYTES) : length;
    if (flag === 1 && (encoding === 'gzip' || encoding === 'deflate'))
      return this.#inflating(encoding, length);
    return length > maxMessageBytes ? this.#skipping(flag, length) : this.#keeping();
  }

  #keeping(): Sink {
    const pieces: Buffer[] = [Buffer.from(this.#prefix)];
    return {
      write: (bytes) => void pieces.push(bytes),
      end: () => {
        this.#verdicts.push({ rejection: null });
        return Buffer.concat(pieces);
      },
    };
  }

  #skipping(flag: number, length: number): Sink {
    const scanner = new FieldScanner(ID_FIELD, MOST_ID_BYTES);
    const rejection = this.#rejection(length);
    return {
      write: (bytes) => scanner.write(bytes),
      end: () => {
        this.#verdicts.push({ rejection });
        return framed(flag, onlyId(scanner));
      },
    };
  }

  #inflating(encoding: 'gzip' | 'deflate', length: number): Sink {
    const { maxMessageBytes: mostBytes, hold } = this.#options;
    const scanner = new FieldScanner(ID_FIELD, MOST_ID_BYTES);
    const isTooLong = length > mostBytes;
    const inflation = new Inflation({
      encoding,
      mostBytes,
      isTooLong,
      isCutOff: this.#isLast,
      scanner,
      hold,
    });
    this.#inflation = inflation;
    const rejection = this.#rejection(length);
    return {
      write: (bytes) => inflation.write(bytes),
      end: () => {
        inflation.end();
        const verdict: { rejection: Rejection | null } = { rejection: null };
        this.#verdicts.push(verdict);
        const placeholder = framed(1, Buffer.alloc(0));
        const content = inflation.content.then((whole) => {
          if (whole === null) verdict.rejection = rejection;
          return whole ?? onlyId(scanner);
        });
        content.catch(() => {});
        this.#inflations.set(placeholder, content);
        return placeholder;
      },
    };
  }

  #rejection(length: number): Rejection {
    const { maxImageBytes, maxMessageBytes } = this.#options;
    const tooLarge = `the image has more bytes than the limit of ${maxImageBytes}`;
    const limit = `${tooLarge}: send a smaller file`;
    const skipped = SKIPPED_TIMES * maxMessageBytes;
    const end =
      `. Its message has ${length} bytes; ` +
      `up to ${skipped} are skipped, so the stream ends here`;
    const text = this.#isLast ? limit + end : limit;
    return { error: new RequestError('IMAGE_TOO_LARGE', text), endsStream: this.#isLast };
  }
}

/** A message with nothing but the id that was found. */
function onlyId({ value }: FieldScanner): Buffer {
  if (value === null) return Buffer.alloc(0);
  const header = [(ID_FIELD << 3) | 2];
  let rest = value.length;
  for (; rest >= 0x80; rest >>>= 7) header.push((rest & 0x7f) | 0x80);
  header.push(rest);
  return Buffer.concat([Buffer.from(header), value]);
}

function framed(flag: number, content: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt8(flag, 0);
  prefix.writeUInt32BE(content.length, 1);
  return Buffer.concat([prefix, content]);
}
