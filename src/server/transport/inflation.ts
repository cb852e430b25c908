/**
 * Unfolds one compressed message while its bytes come in.
 *
 * What holds: of the message itself at most `mostBytes` are kept. One that unfolds to more is only
 * searched from there on, for the field that names it, and only until that is found or
 * SEARCHED_TIMES as much has passed; so a message made to unfold without end costs little more than
 * one that is as large as allowed. What waits to be unfolded is bounded as well: the body is held
 * back meanwhile.
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
  /**
   * The compressed message is longer than `mostBytes` already, so that nothing of it needs to be
   * kept.
   */
  readonly isTooLong: boolean;
  /** Only the beginning of the message will be given. */
  readonly isCutOff: boolean;
  readonly scanner: FieldScanner;
  /** Holds the body back until the returned function is called. */
  readonly hold: () => () => void;
}

export class Inflation {
  /**
   * The message, or null: it is too long. Rejects, with a status as grpc-js has it, where the bytes
   * don't unfold.
   */
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
    // Nobody may be left to look at it.
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

  /** No more bytes will come. */
  end(): void {
    if (!this.#done) this.#unfolder.end();
  }

  /** Unfolds no further; the content is never told unless it is known. */
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
