/**
 * Finds one length-delimited field in a stream of the bytes of a protobuf message, and keeps
 * nothing else.
 *
 * The field may be anywhere in the message, and the chunks may be cut anywhere. The last occurrence
 * counts, as for every reader of protobuf. Only fields of the message itself count, not those of
 * nested messages. Malformed bytes end the search; what was found before remains.
 *
 * What it costs: a few instructions for each field, whatever its length, and at most `mostBytes` of
 * memory.
 */

/** https://protobuf.dev/programming-guides/encoding/#structure */
const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const GROUP_START = 3;
const GROUP_END = 4;
const FIXED32 = 5;

const MOST_VARINT_BYTES = 10;
/** The first five bytes of a varint hold the 32 bits that tags and lengths have. */
const TAG_VARINT_BYTES = 5;

type State = 'tag' | 'varint' | 'length' | 'wanted' | 'skipped' | 'stopped';

export class FieldScanner {
  readonly #field: number;
  readonly #mostBytes: number;
  #state: State = 'tag';
  #varint = 0;
  #varintBytes = 0;
  #isWanted = false;
  /** Bytes of the field's content that are still to come. */
  #left = 0;
  /** Open groups: fields within them are not the message's own. */
  #depth = 0;
  #pieces: Uint8Array[] = [];
  #value: Buffer | null = null;

  /** A field longer than `mostBytes` counts as missing. */
  constructor(field: number, mostBytes: number) {
    this.#field = field;
    this.#mostBytes = mostBytes;
  }

  /** The content of the field in the bytes so far; null: missing. */
  get value(): Buffer | null {
    return this.#value;
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#state === 'stopped') return;
      if (this.#state === 'wanted' || this.#state === 'skipped') {
        const end = Math.min(at + this.#left, bytes.length);
        // A copy, so that the pieces do not keep what they were cut from.
        if (this.#state === 'wanted') this.#pieces.push(bytes.slice(at, end));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#endField();
      } else this.#onVarintByte(bytes[at++] as number);
    }
  }

  #onVarintByte(byte: number): void {
    if (this.#varintBytes < TAG_VARINT_BYTES)
      this.#varint += (byte & 0x7f) * 2 ** (7 * this.#varintBytes);
    this.#varintBytes++;
    if (byte >= 0x80) {
      if (this.#varintBytes === MOST_VARINT_BYTES) this.#state = 'stopped';
      return;
    }
    const value = this.#varint % 2 ** 32;
    this.#varint = 0;
    this.#varintBytes = 0;
    if (this.#state === 'tag') this.#onTag(Math.floor(value / 8), value % 8);
    else if (this.#state === 'length') this.#beginContent(value);
    else this.#state = 'tag';
  }

  #onTag(field: number, wireType: number): void {
    this.#isWanted = false;
    if (wireType === VARINT) this.#state = 'varint';
    else if (wireType === FIXED64) this.#beginContent(8);
    else if (wireType === FIXED32) this.#beginContent(4);
    else if (wireType === LENGTH_DELIMITED) {
      this.#isWanted = field === this.#field && this.#depth === 0;
      this.#state = 'length';
    } else if (wireType === GROUP_START) this.#depth++;
    else if (wireType === GROUP_END && this.#depth > 0) this.#depth--;
    else this.#state = 'stopped';
  }

  #beginContent(length: number): void {
    if (this.#isWanted) this.#value = null;
    this.#isWanted &&= length <= this.#mostBytes;
    this.#state = this.#isWanted ? 'wanted' : 'skipped';
    this.#left = length;
    if (length === 0) this.#endField();
  }

  #endField(): void {
    if (this.#isWanted) this.#value = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#state = 'tag';
  }
}
