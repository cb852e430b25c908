/**
 * Where EXIF and XMP lie in a PNG file, and which of several counts, as in Pillow 12: in an `eXIf`
 * chunk in front of the pixels or behind them, or as hexadecimal digits in a text, as older
 * programs wrote it.
 *
 * Texts may be compressed, and hostile. Only relevant ones are read, no more than `MOST_TEXTS` of a
 * file, and none is inflated beyond `MOST_TEXT_BYTES`. Never throws; a walk that meets something
 * broken ends.
 */
import { isUtf8 } from 'node:buffer';
import { inflateSync, constants as zlib } from 'node:zlib';
import { type Metadata, startsWith } from './metadata.js';

const SIGNATURE_BYTES = 8;
/** Length and name before a chunk's content, checksum behind it. */
const CHUNK_HEADER_BYTES = 8;
const CHECKSUM_BYTES = 4;

/** Names of chunks as numbers: files may have hundreds of thousands. */
const CHUNK = {
  IDAT: 0x49444154,
  IEND: 0x49454e44,
  acTL: 0x6163544c,
  eXIf: 0x65584966,
  fcTL: 0x6663544c,
  iTXt: 0x69545874,
  tEXt: 0x74455874,
  zTXt: 0x7a545874,
} as const;
const INTERESTING: ReadonlySet<number> = new Set(Object.values(CHUNK));

/** Pillow's own limit (PngImagePlugin.MAX_TEXT_CHUNK). */
const MOST_TEXT_BYTES = 1024 * 1024;
/** Honest files have one of each keyword. */
const MOST_TEXTS = 16;

/** A text that is a raw EXIF block. Pillow takes it for an `eXIf` chunk. */
const BARE_EXIF = Buffer.from('exif\0', 'latin1');
const RAW_EXIF = 'Raw profile type exif';
const XMP = 'XML:com.adobe.xmp';

/**
 * Whether a file is an animation of more than one frame: Pillow does not read past the first frame.
 */
interface Animation {
  /** From an `acTL` chunk; null without a valid one. */
  frames: number | null;
  /** Whether an `fcTL` chunk came before the pixels, so that they are a frame. */
  begun: boolean;
}

export function readPngMetadata(bytes: Buffer): Metadata {
  const texts = new Texts();
  const animation: Animation = { frames: null, begun: false };
  let exif: Buffer | null = null;
  let pixelsSeen = false;
  let offset = SIGNATURE_BYTES;
  while (offset + CHUNK_HEADER_BYTES <= bytes.length) {
    const content = offset + CHUNK_HEADER_BYTES;
    const end = content + bytes.readUInt32BE(offset);
    const name = bytes.readUInt32BE(offset + 4);
    if (end > bytes.length || name === CHUNK.IEND || !isName(bytes, offset + 4)) break;
    if (name === CHUNK.IDAT) pixelsSeen = true;
    else if (name === CHUNK.fcTL && pixelsSeen && isAnimated(animation)) break;
    else if (INTERESTING.has(name)) {
      const chunk = bytes.subarray(content, end);
      if (name === CHUNK.eXIf) exif = chunk;
      else if (name === CHUNK.tEXt && startsWith(chunk, BARE_EXIF))
        exif = chunk.subarray(BARE_EXIF.length);
      else if (name === CHUNK.tEXt || name === CHUNK.zTXt || name === CHUNK.iTXt)
        texts.add(name, chunk);
      else if (!pixelsSeen) noteAnimation(animation, name, chunk);
    }
    offset = end + CHECKSUM_BYTES;
  }
  return { exif: exif ?? texts.rawExif(), xmp: texts.xmp() };
}

/** Four letters, digits or underscores: Pillow's test for a chunk. */
function isName(bytes: Buffer, at: number): boolean {
  for (let place = at; place < at + 4; place++) {
    const code = bytes[place] as number;
    const letter = (code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a;
    if (!letter && !(code >= 0x30 && code <= 0x39) && code !== 0x5f) return false;
  }
  return true;
}

function noteAnimation(animation: Animation, name: number, chunk: Buffer): void {
  if (name === CHUNK.fcTL) animation.begun = true;
  if (name !== CHUNK.acTL || chunk.length < 8) return;
  const frames = chunk.readUInt32BE(0);
  // A second one makes the first invalid.
  if (animation.frames !== null) animation.frames = null;
  else if (frames > 0 && frames <= 0x80000000) animation.frames = frames;
}

function isAnimated({ frames, begun }: Animation): boolean {
  return frames !== null && frames + (begun ? 0 : 1) > 1;
}

/**
 * The texts of a file that can hold an orientation. Of several with one keyword the last counts.
 */
class Texts {
  #count = 0;
  #rawExif: string | null = null;
  #xmp: string | null = null;
  /** XMP in an `iTXt` whose text is not UTF-8: it counts if there is no other. */
  #brokenXmp: string | null = null;

  add(kind: number, chunk: Buffer): void {
    const keywordEnd = chunk.indexOf(0);
    // A keyword has at most 79 bytes; without an end there is no text behind it.
    if (keywordEnd < 0 || keywordEnd > 79) return;
    const keyword = chunk.toString('latin1', 0, keywordEnd);
    if (keyword !== RAW_EXIF && keyword !== XMP) return;
    if (++this.#count > MOST_TEXTS) return;
    const rest = chunk.subarray(keywordEnd + 1);
    if (kind === CHUNK.iTXt) this.#addInternational(keyword, rest);
    else this.#set(keyword, kind === CHUNK.tEXt ? rest : unfoldLatin1(rest));
  }

  /** Compression flag and method, language, translated keyword, text. */
  #addInternational(keyword: string, rest: Buffer): void {
    const languageEnd = rest.indexOf(0, 2);
    const translatedEnd = languageEnd < 0 ? -1 : rest.indexOf(0, languageEnd + 1);
    if (translatedEnd < 0) return;
    const stored = rest.subarray(translatedEnd + 1);
    const text = rest[0] === 0 ? stored : rest[1] === 0 ? inflate(stored) : null;
    if (text === null) return;
    if (keyword === XMP) this.#brokenXmp = text.toString('latin1');
    // Zero bytes separate the three and occur in no character.
    if (isUtf8(rest.subarray(2, translatedEnd)) && isUtf8(text)) this.#set(keyword, text);
  }

  #set(keyword: string, text: Buffer): void {
    if (keyword === XMP) this.#xmp = text.toString('latin1');
    else this.#rawExif = text.toString('latin1');
  }

  /**
   * Line by line: nothing, the profile's name, its length, then digits. Empty if the text does not
   * have this form.
   */
  rawExif(): Buffer | null {
    if (this.#rawExif === null) return null;
    const pairs = this.#rawExif
      .split('\n')
      .slice(3)
      .join('')
      .split(/[ \t\r\v\f]+/);
    const digits = pairs.join('');
    const decoded = Buffer.from(digits, 'hex');
    const sound =
      pairs.every(({ length }) => length % 2 === 0) && decoded.length * 2 === digits.length;
    return sound ? decoded : NO_EXIF;
  }

  xmp(): string | null {
    return this.#xmp || this.#brokenXmp;
  }
}

/** Unreadable EXIF. Not empty, which would be EXIF without the tag. */
const NO_EXIF = Buffer.of(0);

/** A `zTXt` chunk's text; empty if it can't be inflated. */
function unfoldLatin1(rest: Buffer): Buffer {
  return inflate(rest.subarray(1)) ?? Buffer.alloc(0);
}

/**
 * As much as there is of a compressed text, which may be cut off; null if it is invalid or too
 * long.
 */
function inflate(bytes: Buffer): Buffer | null {
  try {
    return inflateSync(bytes, { maxOutputLength: MOST_TEXT_BYTES, finishFlush: zlib.Z_SYNC_FLUSH });
  } catch {
    return null;
  }
}
