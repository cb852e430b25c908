/**
 * The shared libraries that a shared library needs: DT_NEEDED of its dynamic section (elf(5)),
 * which is what `ldd` begins with. Read here, because a container has neither `ldd` nor `readelf`.
 *
 * For 64-bit little-endian files, as all of onnxruntime's providers are. Reads a few kilobytes,
 * whatever the file's size.
 */
import { closeSync, openSync } from 'node:fs';
import { readFullyAt } from '../../../system/positional-io.js';

const MAGIC = 0x7f454c46;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const ENTRY_BYTES = 16;

const SEGMENT = { load: 1, dynamic: 2 } as const;
const TAG = { end: 0, needed: 1, strings: 5, stringBytes: 10 } as const;

/** Far above what any library has; a file with more is not a library. */
const LARGEST_TABLE = 1 << 24;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly bytes: number;
}

/** In the order of the file. Throws Error if it is not such a file or can't be read. */
export function neededLibraries(path: string): string[] {
  const file = openSync(path, 'r');
  try {
    const read = (offset: number, bytes: number): Buffer => {
      if (bytes > LARGEST_TABLE) throw new Error(`${path} is damaged: a table of ${bytes} bytes`);
      const buffer = Buffer.alloc(bytes);
      if (!readFullyAt(file, buffer, offset)) throw new Error(`${path} is truncated`);
      return buffer;
    };
    return namesIn(path, read);
  } finally {
    closeSync(file);
  }
}

function namesIn(path: string, read: (offset: number, bytes: number) => Buffer): string[] {
  const header = read(0, HEADER_BYTES);
  if (header.readUInt32BE(0) !== MAGIC || header[4] !== CLASS_64 || header[5] !== LITTLE_ENDIAN) {
    throw new Error(`${path} is not a 64-bit ELF file`);
  }
  const table = read(Number(header.readBigUInt64LE(32)), header.readUInt16LE(56) * SEGMENT_BYTES);
  const segments = Array.from({ length: table.length / SEGMENT_BYTES }, (_, index): Segment => {
    const at = index * SEGMENT_BYTES;
    const long = (offset: number) => Number(table.readBigUInt64LE(at + offset));
    return { type: table.readUInt32LE(at), offset: long(8), address: long(16), bytes: long(32) };
  });
  const dynamic = segments.find(({ type }) => type === SEGMENT.dynamic);
  if (dynamic === undefined) return [];

  const section = read(dynamic.offset, dynamic.bytes);
  const needed: number[] = [];
  let [strings, stringBytes] = [0, 0];
  for (let at = 0; at + ENTRY_BYTES <= section.length; at += ENTRY_BYTES) {
    const tag = Number(section.readBigInt64LE(at));
    const value = Number(section.readBigUInt64LE(at + 8));
    if (tag === TAG.end) break;
    if (tag === TAG.needed) needed.push(value);
    if (tag === TAG.strings) strings = value;
    if (tag === TAG.stringBytes) stringBytes = value;
  }
  if (needed.length === 0) return [];
  // The section gives addresses as they are once loaded; in the file the table lies where its
  // segment does.
  const home = segments.find(
    ({ type, address, bytes }) =>
      type === SEGMENT.load && strings >= address && strings < address + bytes,
  );
  if (home === undefined) throw new Error(`${path} is damaged: its strings are in no segment`);
  const text = read(home.offset + strings - home.address, stringBytes);
  return needed.map((start) => text.toString('latin1', start, text.indexOf(0, start)));
}
