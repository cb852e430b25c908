/**
 * The wire between the front and a child: length-prefixed binary frames over a socket pair.
 *
 * A frame is `u32 payload bytes | u32 tag | payload`, little-endian. The front reads frames from a
 * stream, a child reads them with blocking reads (`receiveFrame`), which costs less CPU a hop than
 * Node's IPC channel. Small control messages (init, ready, failed) are JSON; calls and replies are
 * the rooms' own binary messages. Pixels never travel here.
 */
import { readSync, writeSync } from 'node:fs';

export const FrameTag = {
  /** Front → child, first frame: JSON settings. */
  Init: 1,
  /** Child → front: JSON; it can take calls now. */
  Ready: 2,
  /** Child → front: JSON `{ kind, problems }`; it can't do what it was asked and will exit. */
  Failed: 3,
  /** Front → child: a call. Calls are answered one by one, in order. */
  Call: 4,
  /** Child → front: the reply to the oldest unanswered call. */
  Reply: 5,
} as const;

export type FrameTag = (typeof FrameTag)[keyof typeof FrameTag];

export interface Frame {
  readonly tag: FrameTag;
  readonly payload: Buffer;
}

const HEADER_BYTES = 8;

/**
 * The bound on what a child may send where its role has no lower one, so that a child gone mad
 * can't fill the front's memory.
 */
export const MAX_FRAME_BYTES = 64 * 1024 * 1024;

export function encodeFrame(tag: FrameTag, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.byteLength);
  frame.writeUInt32LE(payload.byteLength, 0);
  frame.writeUInt32LE(tag, 4);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

export function encodeJsonFrame(tag: FrameTag, message: unknown): Buffer {
  return encodeFrame(tag, Buffer.from(JSON.stringify(message)));
}

/**
 * Cuts a byte stream into frames. Payloads are views of the chunks where a frame arrived whole, and
 * copied once where not.
 */
export class FrameParser {
  readonly #maxFrameBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** How many bytes have to be there before it is worth looking again. */
  #wanted = HEADER_BYTES;

  constructor(maxFrameBytes = MAX_FRAME_BYTES) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Yields every frame that `chunk` completes. Throws when a payload is longer than may be. */
  *push(chunk: Buffer): Generator<Frame> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#wanted) return;
    let bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#bytes);
    this.#wanted = HEADER_BYTES;
    while (bytes.length >= HEADER_BYTES) {
      const length = bytes.readUInt32LE(0);
      if (length > this.#maxFrameBytes)
        throw new Error(`a frame of ${length} bytes is beyond the limit`);
      const end = HEADER_BYTES + length;
      this.#wanted = end;
      if (bytes.length < end) break;
      yield { tag: bytes.readUInt32LE(4) as FrameTag, payload: bytes.subarray(HEADER_BYTES, end) };
      bytes = bytes.subarray(end);
      this.#wanted = HEADER_BYTES;
    }
    this.#chunks = bytes.length === 0 ? [] : [bytes];
    this.#bytes = bytes.length;
  }
}

/**
 * Blocks until a whole frame is there. Null when the other end has closed, which means that the
 * front is gone.
 */
export function receiveFrame(fd: number): Frame | null {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  if (!readFully(fd, header)) return null;
  const payload = Buffer.allocUnsafe(header.readUInt32LE(0));
  if (!readFully(fd, payload)) return null;
  return { tag: header.readUInt32LE(4) as FrameTag, payload };
}

/** Blocks until the frame is written. */
export function sendFrame(fd: number, frame: Buffer): void {
  for (let offset = 0; offset < frame.length; ) {
    offset += retryWhileBusy(() => writeSync(fd, frame, offset, frame.length - offset));
  }
}

function readFully(fd: number, target: Buffer): boolean {
  for (let offset = 0; offset < target.length; ) {
    const count = retryWhileBusy(() => readSync(fd, target, offset, target.length - offset, null));
    if (count === 0) return false;
    offset += count;
  }
  return true;
}

const nap = new Int32Array(new SharedArrayBuffer(4));

/**
 * The descriptor blocks on Linux; elsewhere it may answer EAGAIN, and a millisecond's nap stands in
 * for blocking.
 */
function retryWhileBusy(attempt: () => number): number {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(nap, 0, 0, 1);
    }
  }
}
