/**
 * The messages between the front and a decoder process: fixed binary layouts, little-endian. The
 * encoded image itself lies in the decoder's inbox file (`decoder-pool.ts`), the pixels go to a
 * slot.
 *
 * Call:  `u32 slot | u32 bytes`, then the pixel plan as JSON. Reply: `u8 kind`, then for `done`
 * `f64 decodeMs | u32 width | u32 height | u8 format | u8 decoder`,
 *        for `rejected` a JSON `{ reason, message }`.
 *
 * What a decoder replies is checked, since a hostile image may have taken it over: a reply that no
 * honest decoder gives throws, and costs the process its life.
 */
import { describeReason, REASONS, type Reason } from '../../errors.js';
import type { WorkResult } from '../worker.js';
import type { DecoderName } from './decode-image.js';
import type { DecodableFormat } from './sniff.js';
import type { TurboJpegMissing } from './turbojpeg-library.js';

/** In the order of their numbers on the wire. */
const FORMATS: readonly DecodableFormat[] = ['jpeg', 'png', 'webp'];
const DECODERS: readonly DecoderName[] = ['turbojpeg', 'sharp'];

/** An image to be decoded into a slot. */
export interface DecodeRequest {
  readonly slot: number;
  readonly image: Uint8Array;
  /** The model's PixelPlan as JSON: a decoder needs to know of no models. */
  readonly plan: string;
}

/** The pixels are in the slot. */
export interface DecodedImage {
  /** Milliseconds in the decoder process. */
  readonly decodeMs: number;
  /** Pixels of the picture itself, after its EXIF orientation. */
  readonly width: number;
  readonly height: number;
  readonly format: DecodableFormat;
  /** What decoded it. */
  readonly decoder: DecoderName;
}

/** What a decoder is told of an image that lies in its inbox. */
export interface DecoderCall {
  readonly slot: number;
  readonly bytes: number;
  readonly plan: string;
}

/** A decoder process's first message, when it is ready. */
export interface DecoderHello {
  /** The decoder of ordinary JPEG files. */
  readonly jpegDecoder: DecoderName;
  /** Why not libturbojpeg, if that was wanted. */
  readonly jpegFallback: TurboJpegMissing | null;
  /** A JPEG file, in base64, where a drawn picture was asked for; else null. */
  readonly picture: string | null;
}

const CALL_BYTES = 8;
const DONE_BYTES = 19;
const REPLY = { done: 1, rejected: 2, skipped: 3 } as const;

export function encodeCall({ slot, bytes, plan }: DecoderCall): Buffer {
  const call = Buffer.alloc(CALL_BYTES + Buffer.byteLength(plan));
  call.writeUInt32LE(slot, 0);
  call.writeUInt32LE(bytes, 4);
  call.write(plan, CALL_BYTES);
  return call;
}

export function decodeCall(call: Buffer): DecoderCall {
  return {
    slot: call.readUInt32LE(0),
    bytes: call.readUInt32LE(4),
    plan: call.toString('utf8', CALL_BYTES),
  };
}

export function encodeReply(result: WorkResult<DecodedImage>): Buffer {
  switch (result.kind) {
    case 'skipped':
      return Buffer.of(REPLY.skipped);
    case 'rejected': {
      const { reason, message } = result;
      return Buffer.concat([
        Buffer.of(REPLY.rejected),
        Buffer.from(JSON.stringify({ reason, message })),
      ]);
    }
    case 'done': {
      const { decodeMs, width, height, format, decoder } = result.output;
      const bytes = Buffer.alloc(DONE_BYTES);
      bytes.writeUInt8(REPLY.done, 0);
      bytes.writeDoubleLE(decodeMs, 1);
      bytes.writeUInt32LE(width, 9);
      bytes.writeUInt32LE(height, 13);
      bytes.writeUInt8(FORMATS.indexOf(format), 17);
      bytes.writeUInt8(DECODERS.indexOf(decoder), 18);
      return bytes;
    }
  }
}

/** Throws where the bytes are no reply. */
export function decodeReply(bytes: Buffer): WorkResult<DecodedImage> {
  switch (bytes.readUInt8(0)) {
    case REPLY.done: {
      const decodeMs = bytes.readDoubleLE(1);
      const format = FORMATS[bytes.readUInt8(17)];
      const decoder = DECODERS[bytes.readUInt8(18)];
      const isTime = decodeMs >= 0 && decodeMs < Number.POSITIVE_INFINITY;
      if (!isTime || format === undefined || decoder === undefined)
        throw new Error('a decoder reply that makes no sense');
      const [width, height] = [bytes.readUInt32LE(9), bytes.readUInt32LE(13)];
      return { kind: 'done', output: { decodeMs, width, height, format, decoder } };
    }
    case REPLY.rejected:
      return { kind: 'rejected', ...readRejection(bytes.toString('utf8', 1)) };
    case REPLY.skipped:
      return { kind: 'skipped' };
    default:
      throw new Error('a decoder reply of unknown kind');
  }
}

/** A decoder may find fault with the image, or with itself; nothing else is its to say. */
function readRejection(text: string): { reason: Reason; message: string } {
  const { reason, message } = JSON.parse(text) as { reason?: unknown; message?: unknown };
  const known =
    typeof reason === 'string' && Object.hasOwn(REASONS, reason) ? (reason as Reason) : null;
  const mayBeSaid =
    known === 'INTERNAL' || (known !== null && describeReason(known).field === 'image');
  if (known === null || !mayBeSaid || typeof message !== 'string')
    throw new Error('a rejection that makes no sense');
  return { reason: known, message };
}
