/**
 * Streams files out of a ZIP archive, the format of wheels and NuGet packages (APPNOTE.TXT of
 * PKWARE, 4.3).
 *
 * Reads the central directory, and of the rest only the requested files. Handles stored and
 * deflated files, but neither ZIP64 nor encryption, which such packages do not use. Memory: the
 * directory, and a few chunks of a file.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';

const DIRECTORY_END = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const END_BYTES = 22;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const LONGEST_COMMENT = 0xffff;
const STORED = 0;
const DEFLATED = 8;
/** Means that the real figure is in a ZIP64 record. */
const ZIP64 = 0xffffffff;

interface Entry {
  readonly method: number;
  readonly compressedBytes: number;
  readonly bytes: number;
  readonly headerOffset: number;
}

export class Zip {
  readonly #file: FileHandle;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(file: FileHandle, entries: ReadonlyMap<string, Entry>) {
    this.#file = file;
    this.#entries = entries;
  }

  /** Rejects with Error if the file can't be read or is not such an archive. */
  static async open(path: string): Promise<Zip> {
    const file = await open(path);
    try {
      return new Zip(file, await readDirectory(file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** Passes on a file's bytes in order. Rejects if there is no such file, or if it is damaged. */
  async read(name: string, take: (chunk: Buffer) => Promise<void>): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new Error(`the archive has no ${name}`);
    const { method, compressedBytes, bytes, headerOffset } = entry;
    if (method !== STORED && method !== DEFLATED)
      throw new Error(`${name} is compressed by an unknown method (${method})`);
    const header = await readAt(this.#file, headerOffset, LOCAL_BYTES);
    if (header.readUInt32LE(0) !== LOCAL_HEADER)
      throw new Error(`the archive is damaged at ${name}`);
    const start = headerOffset + LOCAL_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
    let taken = 0;
    const sink = async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        taken += chunk.length;
        if (taken > bytes) throw new Error(`${name} is longer than the archive says`);
        await take(chunk);
      }
    };
    const packed = chunksOf(this.#file, start, compressedBytes);
    await (method === STORED ? pipeline(packed, sink) : pipeline(packed, createInflateRaw(), sink));
    if (taken !== bytes) throw new Error(`${name} is shorter than the archive says`);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function readDirectory(file: FileHandle): Promise<Map<string, Entry>> {
  const { size } = await file.stat();
  const tailBytes = Math.min(size, END_BYTES + LONGEST_COMMENT);
  const tail = await readAt(file, size - tailBytes, tailBytes);
  let end = tailBytes - END_BYTES;
  while (end >= 0 && tail.readUInt32LE(end) !== DIRECTORY_END) end--;
  if (end < 0) throw new Error('not a ZIP archive');
  const count = tail.readUInt16LE(end + 10);
  const directory = await readAt(file, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));

  const entries = new Map<string, Entry>();
  for (let index = 0, at = 0; index < count; index++) {
    if (at + ENTRY_BYTES > directory.length || directory.readUInt32LE(at) !== DIRECTORY_ENTRY) {
      throw new Error('the directory of the archive is damaged');
    }
    const long = (offset: number) => directory.readUInt32LE(at + offset);
    const [nameBytes, moreBytes, commentBytes] = [28, 30, 32].map((offset) =>
      directory.readUInt16LE(at + offset),
    );
    const entry = {
      method: directory.readUInt16LE(at + 10),
      compressedBytes: long(20),
      bytes: long(24),
      headerOffset: long(42),
    };
    if ([entry.compressedBytes, entry.bytes, entry.headerOffset].includes(ZIP64)) {
      throw new Error('archives of 4 GB and more are not supported');
    }
    const nameAt = at + ENTRY_BYTES;
    entries.set(directory.toString('utf8', nameAt, nameAt + (nameBytes ?? 0)), entry);
    at = nameAt + (nameBytes ?? 0) + (moreBytes ?? 0) + (commentBytes ?? 0);
  }
  return entries;
}

async function readAt(file: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, offset);
  if (bytesRead !== bytes) throw new Error('the archive is truncated');
  return buffer;
}

async function* chunksOf(file: FileHandle, start: number, bytes: number): AsyncGenerator<Buffer> {
  const CHUNK = 1 << 20;
  for (let at = 0; at < bytes; at += CHUNK)
    yield await readAt(file, start + at, Math.min(CHUNK, bytes - at));
}
