/**
 * The wire between the front and a child: length-prefixed binary frames over a socket pair.
 *
 * A frame is `u32 payload bytes | u32 tag | payload`, little-endian. The front reads frames from a
 * stream, a child with blocking reads (`receiveFrame`), which cost less CPU time than the IPC
 * channel of Node. Small control messages (init, ready, failed) are JSON; calls and replies are
 * binary, in the format of each program. Pixels go through the slots, never through frames.
 */
import { readSync, writeSync } from 'node:fs';

export const FrameTag = {
  /** Front → child, first frame: JSON settings. */
  Init: 1,
  /** Child → front: JSON; from now on it takes calls. */
  Ready: 2,
  /** Child → front: JSON `{ kind, problems }`; it could not start and exits. */
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
 * The limit of a frame from a child whose role has no lower one, so that a faulty child cannot fill
 * the memory of the front.
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
 * Cuts a byte stream into frames. The payload of a frame that arrives whole is a view of its chunk;
 * any other is copied once.
 */
export class FrameParser {
  readonly #maxFrameBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Bytes that are needed before a frame can be complete. */
  #wanted = HEADER_BYTES;

  constructor(maxFrameBytes = MAX_FRAME_BYTES) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Yields every frame that `chunk` completes. Throws where a payload exceeds the limit. */
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

/** Blocks until a whole frame has arrived. Null: the front has closed the channel. */
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

/** The descriptor blocks on Linux; elsewhere it may return EAGAIN, so this sleeps a millisecond. */
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
