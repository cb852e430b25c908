/**
 * Recognises what callers send in place of an image's bytes, and bytes that were handled as text,
 * to say what to do instead. By the first bytes, one character a byte. Free of native code: the
 * front calls it (sniff.ts).
 *
 * Answers are fixed texts with at most a number in them: they repeat nothing of what was sent.
 */
import { isUtf8 } from 'node:buffer';
import { findForeignFormat } from './foreign-formats.js';

const SEND_BYTES = 'decode it and send the bytes themselves';
const SEND_FILE = 'send the bytes of the file';
const SEND_AS_IT_IS = 'read the file as binary data and send it as it is';

/** An image is searched for behind at most this many bytes. */
const MOST_IN_FRONT = 64;
/** A text of one alphabet and this length is not a word. */
const LONG = 64;

const [JPEG_START, PNG_START] = ['\xff\xd8\xff', '\x89PNG\r\n\x1a\n'];
const WEBP_START = /RIFF.{4}WEBP/s;

const REPLACED = `the image was read as text, which replaced some of its bytes: ${SEND_AS_IT_IS}`;
const ENCODED = `the image was encoded as UTF-8, as if it were text: ${SEND_AS_IT_IS}`;
const LINE_ENDS = `the line ends in the image were changed, as if it were text: ${SEND_AS_IT_IS}`;

/**
 * The starts of images whose bytes were taken for text. A byte above 127 became UTF-8's replacement
 * character, or a question mark, or nothing; or its number was taken for a character's.
 */
const CHANGED: readonly (readonly [start: string, message: string])[] = [
  ['\xef\xbf\xbd', REPLACED],
  ['????\0', REPLACED],
  ['\0\x10JFIF\0', REPLACED],
  ['?PNG\r\n', REPLACED],
  ['PNG\r\n\x1a', REPLACED],
  ['\xc3\xbf\xc3\x98\xc3\xbf', ENCODED],
  ['\xc2\x89PNG', ENCODED],
  // PNG's signature has line ends of both kinds for this purpose.
  ['\x89PNG\n\x1a', LINE_ENDS],
  ['\x89PNG\r\r\n\x1a', LINE_ENDS],
  ['\x89PNG\r\n\x1a\r\n', LINE_ENDS],
];

const IMAGE_NAME = /\.(?:jpe?g|jfif|png|webp|gif|hei[cf]|avif|bmp|tiff?|svg)$/i;

/** What precedes the content of a text: byte order mark, white space, quotes. */
const WRAPPING = /^(?:\xef\xbb\xbf)?[\s"'`]*/;

/**
 * @param prologue the first bytes of what was sent, as Latin-1
 * @param length the number of bytes sent
 * @returns a message, or null for something unknown
 */
export function findTransportMistake(prologue: string, length: number): string | null {
  return (
    findChangedBytes(prologue) ??
    findWrapped(prologue) ??
    findText(prologue, prologue.length === length)
  );
}

/** Bytes of an image that were taken for text. */
function findChangedBytes(prologue: string): string | null {
  const changed = CHANGED.find(([start]) => prologue.startsWith(start))?.[1];
  if (changed !== undefined) return changed;
  // A WebP file begins with letters and its length.
  const length = prologue.match(/^RIFF(.{4,16}?)WEBP/s)?.[1];
  if (length === undefined) return null;
  return length.includes('\xef\xbf\xbd')
    ? REPLACED
    : /[\xc2\xc3][\x80-\xbf]/.test(length)
      ? ENCODED
      : null;
}

/** Where the first bytes of a JPEG, PNG or WebP file are; -1 if there are none. */
function findImage(text: string): number {
  const places = [text.indexOf(JPEG_START), text.indexOf(PNG_START), text.search(WEBP_START)];
  return places.reduce(
    (first, place) => (place >= 0 && (first < 0 || place < first) ? place : first),
    -1,
  );
}

/** An image inside of something else. */
function findWrapped(prologue: string): string | null {
  if (/^\s*--[^\r\n]+\r?\n.*content-(?:disposition|type)/is.test(prologue)) {
    return 'the image is a multipart body: send only the bytes of the file in it';
  }
  if (/^HTTP\/\d|^(?:POST|PUT|GET) \S+ HTTP\//.test(prologue)) {
    return 'the image is an HTTP message with its headers: send only its body';
  }
  const at = findImage(prologue);
  if (at <= 0 || at > MOST_IN_FRONT) return null;
  const front = prologue.slice(0, at);
  const what = /^[\r\n]+$/.test(front)
    ? 'a line break'
    : front === '\xef\xbb\xbf'
      ? 'a byte order mark'
      : /^\s+$/.test(front)
        ? 'white space'
        : at === 1
          ? 'another byte'
          : `${at} other bytes`;
  return `the image has ${what} in front of its file: send the file alone`;
}

/** Text in place of an image. `whole`: the prologue is all of it. */
function findText(prologue: string, whole: boolean): string | null {
  if (/^\0+$/.test(prologue))
    return 'the image begins with zero bytes only: send the intended file';
  if (/^(?:\xff\xfe|\xfe\xff)/.test(prologue)) return `the image is text in UTF-16: ${SEND_FILE}`;
  if (!isText(prologue)) return null;
  const text = prologue.replace(WRAPPING, '');
  if (text === '') return `the image is only white space: ${SEND_FILE}`;
  if (/^data:[\w.+/-]*[;,]/i.test(text)) {
    return 'the image is a data URL: decode the base64 text after its comma and send those bytes';
  }
  if (/^b?(?:\\x[0-9a-f]{2}){2}/i.test(text) || /^b['"]/.test(prologue)) {
    return 'the image is binary data written as text, with escapes: send the bytes themselves';
  }
  if (/^[[(]?\s*\d{1,3}(?:\s*,\s*\d{1,3}){5}/.test(text)) {
    return 'the image is a list of numbers as text: send the bytes themselves';
  }
  if (isHexadecimal(text)) return `the image is hexadecimal text: ${SEND_BYTES}`;
  if (isBase64(text)) return `the image is base64 text: ${SEND_BYTES}`;
  if (/^\[object \w+\]|^(?:undefined|null|None|NaN)["'`\s]*$/.test(text)) {
    return `the image is a value of a program, converted to text: ${SEND_FILE}`;
  }
  if (/^(?:\{\s*["}]|\[\s*[{["\d\]])/.test(text))
    return `the image is JSON: ${SEND_FILE} and nothing around them`;
  if (/^(?:[a-z][a-z0-9+.-]+:\/\/|blob:)/i.test(text))
    return `the image is a URL, which the server does not fetch: ${SEND_FILE}`;
  if (whole && isPath(text)) return `the image is the name of a file: ${SEND_FILE}`;
  return 'the image is text: send a JPEG, PNG or WebP file';
}

/** UTF-8 without control characters; the last character may be cut off. */
function isText(prologue: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: text has none of them
  if (/[\0-\x08\x0e-\x1f\x7f]/.test(prologue)) return false;
  return isUtf8(Buffer.from(prologue.replace(/[\xc0-\xff][\x80-\xbf]{0,2}$/, ''), 'latin1'));
}

/**
 * Pairs of digits, with or without separators, that stand for a known file or are too many for a
 * word.
 */
function isHexadecimal(text: string): boolean {
  const digits = text.replace(/^(?:0|\\)x/i, '').replace(/[\s:,-]|["'`]\s*$/g, '');
  if (!/^[0-9a-f]{8,}$/i.test(digits)) return false;
  return digits.length >= LONG || isKnownFile(Buffer.from(digits, 'hex').toString('latin1'));
}

/**
 * The ordinary alphabet or the one for URLs, in one line or several, with slashes that JSON may
 * have escaped.
 */
function isBase64(text: string): boolean {
  const packed = text.replace(/^base64,/i, '').replace(/[\s\\]|["'`]\s*$/g, '');
  if (!/^[a-z0-9+/_-]{8,}={0,2}$/i.test(packed)) return false;
  return (
    isKnownFile(Buffer.from(packed, 'base64').toString('latin1')) ||
    (packed.length >= LONG && !text.includes(' '))
  );
}

function isKnownFile(start: string): boolean {
  return findImage(start) === 0 || findForeignFormat(start) !== null;
}

function isPath(text: string): boolean {
  const path = text.replace(/["'`\s]+$/, '');
  if (/[\r\n]/.test(path)) return false;
  return IMAGE_NAME.test(path) || /^(?:~?\/|\.{1,2}[\\/]|[a-z]:[\\/]|\\\\)\S/i.test(path);
}
