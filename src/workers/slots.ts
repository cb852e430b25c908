/**
 * Passes pixels between processes: one file in tmpfs, cut into slots, with positional reads and
 * writes.
 *
 * A slot is a header of SLOT_HEADER_BYTES (cancel word, expiry) and the pixels of one image, height
 * × width × 3 bytes, RGB, row by row. Each permit has a slot. What holds: a slot is reserved by
 * writing it before its first use, so a full tmpfs shows when a permit is requested, never during
 * the work on an image. The file is unlinked at once and the children inherit its descriptor, so no
 * crash leaves it behind. A slot passes to another request only after the process that writes it
 * has answered or is gone. What it costs: (pixels + 64 bytes) × slots of memory, and about 25 µs
 * for each image.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, SetupError } from '../errors.js';
import { readFullyAt, writeFullyAt } from '../system/positional-io.js';

export const SLOT_HEADER_BYTES = 64;

/** Layout of the slot file; the same on both sides. */
export interface SlotLayout {
  /** The size of the largest model's pixels. */
  readonly pixelBytes: number;
}

export function slotOffset(layout: SlotLayout, slot: number): number {
  return slot * (SLOT_HEADER_BYTES + layout.pixelBytes);
}

/** Opens a new file in `directory` and unlinks it. Throws SetupError where that fails. */
export function openUnlinkedFile(directory: string): number {
  const path = join(directory, `vitserve-${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    const fd = openSync(path, 'wx+', 0o600);
    unlinkSync(path);
    return fd;
  } catch (error) {
    throw new SetupError('environment', [
      `shared-memory-dir: can't create a file in ${directory} (${messageOf(error)}): ` +
        'name a writable folder, best on tmpfs',
    ]);
  }
}

/** How much is reserved at a time while serving, in a millisecond or so. */
const GROWTH_BYTES = 2 * 1024 * 1024;

const ZEROES = Buffer.alloc(1024 * 1024);

/** Writes zeroes, so that the space exists. Throws SetupError where there is too little. */
export function reserve(
  fd: number,
  from: number,
  to: number,
  directory: string,
  whatFor: string,
): void {
  try {
    for (let at = from; at < to; ) {
      at += writeSync(fd, ZEROES, 0, Math.min(ZEROES.length, to - at), at);
    }
  } catch (error) {
    const mebibytes = (to / 2 ** 20).toFixed(1);
    throw new SetupError('environment', [
      `shared-memory-dir: ${directory} has no room for ${mebibytes} MiB of ${whatFor} ` +
        `(${messageOf(error)}): enlarge it (a container's /dev/shm is 64 MiB by default), ` +
        'name another folder, or lower permits',
    ]);
  }
}

/** The front's side: owns the file and writes headers, never pixels. */
export class SlotFile {
  readonly fd: number;
  readonly layout: SlotLayout;
  readonly #directory: string;
  readonly #header = Buffer.alloc(16);
  readonly #cancelWord = Buffer.from([1, 0, 0, 0]);
  #count = 0;

  private constructor(fd: number, layout: SlotLayout, directory: string) {
    this.fd = fd;
    this.layout = layout;
    this.#directory = directory;
  }

  static create(directory: string, layout: SlotLayout, count: number): SlotFile {
    const file = new SlotFile(openUnlinkedFile(directory), layout, directory);
    try {
      file.grow(count);
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return slotOffset(this.layout, this.#count);
  }

  /** Reserves further slots, up to `count`. */
  grow(count: number): void {
    if (count <= this.#count) return;
    try {
      reserve(
        this.fd,
        this.bytes,
        slotOffset(this.layout, count),
        this.#directory,
        `${count} pixel slots`,
      );
    } catch (error) {
      // Gives back the part that could be written.
      ftruncateSync(this.fd, this.bytes);
      throw error;
    }
    this.#count = count;
  }

  /**
   * Reserves up to `count` slots, and a few more so that this happens rarely. Returns whether there
   * are `count`.
   */
  tryGrow(count: number): boolean {
    const some = Math.floor(GROWTH_BYTES / slotOffset(this.layout, 1));
    for (const wanted of [Math.max(count, this.#count + some), count]) {
      if (count <= this.#count) return true;
      try {
        this.grow(wanted);
      } catch {}
    }
    return count <= this.#count;
  }

  /**
   * Marks the slot as wanted until `expiresAt` (monotonic milliseconds, Infinity for no deadline).
   */
  open(slot: number, expiresAt: number): void {
    this.#header.writeUInt32LE(0, 0);
    this.#header.writeDoubleLE(expiresAt, 8);
    writeSync(this.fd, this.#header, 0, 16, slotOffset(this.layout, slot));
  }

  /** Marks the slot as cancelled: no process begins to work on it. */
  cancel(slot: number): void {
    writeSync(this.fd, this.#cancelWord, 0, 4, slotOffset(this.layout, slot));
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** A child's side of the file. */
export class SlotView {
  readonly #fd: number;
  readonly #layout: SlotLayout;
  readonly #header = Buffer.alloc(16);

  constructor(fd: number, layout: SlotLayout) {
    this.#fd = fd;
    this.#layout = layout;
  }

  /** Whether the slot's request was still waiting at `now` (monotonic milliseconds). */
  isWanted(slot: number, now: number): boolean {
    readSync(this.#fd, this.#header, 0, 16, slotOffset(this.#layout, slot));
    return this.#header.readUInt32LE(0) === 0 && now < this.#header.readDoubleLE(8);
  }

  writePixels(slot: number, pixels: Uint8Array): void {
    const at = slotOffset(this.#layout, slot) + SLOT_HEADER_BYTES;
    writeFullyAt(this.#fd, pixels, at);
  }

  /** Reads the first `length` bytes of the slot's pixels into `target` from `offset` on. */
  readPixels(slot: number, target: Uint8Array, offset: number, length: number): void {
    const at = slotOffset(this.#layout, slot) + SLOT_HEADER_BYTES;
    if (!readFullyAt(this.#fd, target.subarray(offset, offset + length), at))
      throw new Error(`slot ${slot} lies beyond the file`);
  }
}
