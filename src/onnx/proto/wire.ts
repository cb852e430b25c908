/**
 * Protobuf's wire format (protobuf.dev/programming-guides/encoding): varints, fixed-width numbers,
 * length-delimited bytes.
 *
 * The reader never reads past its end, never allocates more than the given bytes can fill, and
 * rejects malformed input with OnnxFormatError. The writer keeps byte fields from 4 KiB on as views
 * of their own memory, so that a model's weights are not copied.
 */

/**
 * The bytes are not an ONNX model, or the model can't be written as bytes. `readModel` names the
 * file in a SetupError.
 */
export class OnnxFormatError extends Error {
  override readonly name = 'OnnxFormatError';
}

export const WireType = { VARINT: 0, FIXED64: 1, BYTES: 2, FIXED32: 5 } as const;

const TWO_32 = 2 ** 32;
const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class WireReader {
  readonly #bytes: Buffer;
  #position = 0;
  /** The 32-bit halves of the last varint, unsigned. */
  #low = 0;
  #high = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get position(): number {
    return this.#position;
  }

  get size(): number {
    return this.#bytes.length;
  }

  /** The bytes between two positions, as a view. */
  view(start: number, end: number): Uint8Array {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + start, end - start);
  }

  /** Skips `count` bytes, which must exist before `end`; returns the position before them. */
  take(count: number, end: number): number {
    const start = this.#position;
    if (count > end - start) {
      throw new OnnxFormatError(
        `truncated at byte ${start}: ${count} bytes are announced, ${end - start} are left`,
      );
    }
    this.#position = start + count;
    return start;
  }

  #varint(end: number): void {
    const bytes = this.#bytes;
    const start = this.#position;
    let low = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      if (start + index >= end)
        throw new OnnxFormatError(`truncated at byte ${start}: a number without its end`);
      const byte = bytes[start + index] ?? 0;
      const bits = byte & 0x7f;
      if (index < 4) low |= bits << (7 * index);
      else if (index === 4) {
        low |= bits << 28;
        high |= bits >> 4;
      } else high |= bits << (7 * index - 32);
      if (byte < 0x80) {
        this.#position = start + index + 1;
        this.#low = low >>> 0;
        this.#high = high >>> 0;
        return;
      }
    }
    throw new OnnxFormatError(`malformed at byte ${start}: a number of more than ten bytes`);
  }

  /** A tag: field number × 8 + wire type. A valid one fits 32 bits. */
  tag(end: number): number {
    const start = this.#position;
    this.#varint(end);
    if (this.#high !== 0 || this.#low < 8)
      throw new OnnxFormatError(`malformed at byte ${start}: no such field`);
    return this.#low;
  }

  /** The end of a length-delimited field; the position is then its start. */
  lengthDelimited(end: number): number {
    this.#varint(end);
    const length = this.#high * TWO_32 + this.#low;
    const start = this.take(length, end);
    this.#position = start;
    return start + length;
  }

  int32(end: number): number {
    this.#varint(end);
    return this.#low | 0;
  }

  long(end: number): number | bigint {
    this.#varint(end);
    const value = (this.#high | 0) * TWO_32 + this.#low;
    if (Number.isSafeInteger(value)) return value;
    return (BigInt(this.#high | 0) << 32n) | BigInt(this.#low);
  }

  ulong(end: number): number | bigint {
    this.#varint(end);
    const value = this.#high * TWO_32 + this.#low;
    if (Number.isSafeInteger(value)) return value;
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  float(end: number): number {
    return this.#bytes.readFloatLE(this.take(4, end));
  }

  double(end: number): number {
    return this.#bytes.readDoubleLE(this.take(8, end));
  }

  bytes(end: number): Uint8Array {
    const stop = this.lengthDelimited(end);
    const start = this.take(stop - this.#position, end);
    return this.view(start, stop);
  }

  /** Text must be UTF-8, since other bytes could not be written back unchanged. */
  text(end: number): string {
    const stop = this.lengthDelimited(end);
    const start = this.take(stop - this.#position, end);
    const text = this.#bytes.toString('utf8', start, stop);
    if (text.includes('\ufffd')) {
      try {
        return STRICT_UTF8.decode(this.view(start, stop));
      } catch (error) {
        throw new OnnxFormatError(`malformed at byte ${start}: text that is not UTF-8`, {
          cause: error,
        });
      }
    }
    return text;
  }

  /** Skips the value of an unknown field. */
  skip(wireType: number, end: number): void {
    if (wireType === WireType.VARINT) this.#varint(end);
    else if (wireType === WireType.FIXED64) this.take(8, end);
    else if (wireType === WireType.FIXED32) this.take(4, end);
    else if (wireType === WireType.BYTES) this.bytes(end);
    else throw new OnnxFormatError(`malformed at byte ${this.#position}: wire type ${wireType}`);
  }
}

/** The bytes of an unsigned varint below 2^53. */
export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

/** Bytes of a signed 32- or 64-bit integer: negative ones take ten. */
export function integerSize(value: number | bigint): number {
  if (value < 0) return 10;
  if (typeof value === 'number') return varintSize(value);
  let size = 1;
  for (let rest = value; rest >= 0x80n; rest >>= 7n) size++;
  return size;
}

const PIECE_BYTES = 64 * 1024;
const VIEW_FROM_BYTES = 4096;

export class WireWriter {
  readonly #chunks: Uint8Array[] = [];
  #piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #used = 0;

  #room(bytes: number): void {
    if (this.#used + bytes <= this.#piece.length) return;
    this.#flush();
    this.#piece = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, bytes));
    this.#used = 0;
  }

  /** Closes the filled part of the piece; the rest of it is filled next. */
  #flush(): void {
    if (this.#used > 0) this.#chunks.push(this.#piece.subarray(0, this.#used));
    this.#piece = this.#piece.subarray(this.#used);
    this.#used = 0;
  }

  unsigned(value: number): void {
    this.#room(10);
    let rest = value;
    while (rest >= 0x80) {
      this.#piece[this.#used++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#piece[this.#used++] = rest;
  }

  /** A signed integer; negative ones in two's complement of 64 bits. */
  integer(value: number | bigint): void {
    if (typeof value === 'number' && value >= 0) {
      this.unsigned(value);
      return;
    }
    this.#room(10);
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest >= 0x80n) {
      this.#piece[this.#used++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#piece[this.#used++] = Number(rest);
  }

  float(value: number): void {
    this.#room(4);
    this.#used = this.#piece.writeFloatLE(value, this.#used);
  }

  double(value: number): void {
    this.#room(8);
    this.#used = this.#piece.writeDoubleLE(value, this.#used);
  }

  text(value: string, size: number): void {
    this.unsigned(size);
    this.#room(size);
    this.#used += this.#piece.write(value, this.#used, 'utf8');
  }

  raw(bytes: Uint8Array): void {
    if (bytes.length >= VIEW_FROM_BYTES) {
      this.#flush();
      this.#chunks.push(bytes);
      return;
    }
    this.#room(bytes.length);
    this.#piece.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  finish(): Uint8Array[] {
    this.#flush();
    return this.#chunks;
  }
}
