/**
 * Decompresses one message while its bytes arrive.
 *
 * What holds: it keeps at most `mostBytes` of the message. A message that decompresses to more is
 * only searched for its id from there on, until that is found or SEARCHED_TIMES as much has passed.
 * So a decompression bomb costs little more than a message at the limit. The compressed bytes that
 * wait are bounded too: beyond BACKLOG_BYTES the body is held back.
 */
import { constants, createGunzip, createInflate, type Gunzip, type Inflate } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import type { FieldScanner } from './field-scanner.js';

const SEARCHED_TIMES = 2;
/** Compressed bytes that may wait. */
const BACKLOG_BYTES = 1024 * 1024;

export interface InflationOptions {
  readonly encoding: 'gzip' | 'deflate';
  readonly mostBytes: number;
  /** The compressed message already exceeds `mostBytes`, so nothing of it needs to be kept. */
  readonly isTooLong: boolean;
  /** Only the beginning of the message will be written. */
  readonly isCutOff: boolean;
  readonly scanner: FieldScanner;
  /** Holds the body back until the returned function is called. */
  readonly hold: () => () => void;
}

export class Inflation {
  /** The message; null: too long. Rejects with a status, as grpc-js does, for malformed bytes. */
  readonly content: Promise<Buffer | null>;
  readonly #options: InflationOptions;
  readonly #unfolder: Gunzip | Inflate;
  #resolve: (content: Buffer | null) => void = () => {};
  #reject: (status: object) => void = () => {};
  #pieces: Buffer[] = [];
  #bytes = 0;
  #isTooLong: boolean;
  #done = false;
  #release: (() => void) | null = null;

  constructor(options: InflationOptions) {
    this.#options = options;
    this.#isTooLong = options.isTooLong;
    this.content = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // The call may have ended, and then nothing handles the rejection.
    this.content.catch(() => {});
    const zlibOptions = options.isCutOff ? { finishFlush: constants.Z_SYNC_FLUSH } : {};
    this.#unfolder =
      options.encoding === 'gzip' ? createGunzip(zlibOptions) : createInflate(zlibOptions);
    this.#unfolder.on('data', (piece: Buffer) => this.#onPiece(piece));
    this.#unfolder.on('end', () => this.#end());
    this.#unfolder.on('drain', () => this.#goOn());
    this.#unfolder.on('error', () => {
      if (this.#isTooLong) this.#end();
      else this.#reject({ code: status.INTERNAL, details: 'Failed to decompress message' });
      this.destroy();
    });
  }

  write(bytes: Buffer): void {
    if (this.#done) return;
    this.#unfolder.write(bytes);
    if (this.#unfolder.writableLength > BACKLOG_BYTES) this.#release ??= this.#options.hold();
  }

  /** All bytes were written. */
  end(): void {
    if (!this.#done) this.#unfolder.end();
  }

  /** Stops. The content never settles unless it has. */
  destroy(): void {
    this.#done = true;
    this.#pieces = [];
    this.#unfolder.destroy();
    this.#goOn();
  }

  #onPiece(piece: Buffer): void {
    if (this.#done) return;
    const { mostBytes, scanner } = this.#options;
    this.#bytes += piece.length;
    scanner.write(piece);
    if (this.#bytes > mostBytes) this.#isTooLong = true;
    if (!this.#isTooLong) {
      this.#pieces.push(piece);
      return;
    }
    this.#pieces = [];
    if (scanner.value !== null || this.#bytes > SEARCHED_TIMES * mostBytes) this.#end();
  }

  #end(): void {
    this.#resolve(this.#isTooLong ? null : Buffer.concat(this.#pieces));
    this.destroy();
  }

  #goOn(): void {
    this.#release?.();
    this.#release = null;
  }
}
