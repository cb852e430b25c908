/**
 * The messages between the front and a decoder process: fixed binary layouts, little-endian. The
 * encoded image itself lies in the decoder's inbox file (`decoder-pool.ts`), the pixels go to a
 * slot.
 *
 * Call: `u8 kind | u32 slot | u32 bytes`, then the pixel plan as JSON (decode), or
 *        `u8 kind | u32 width | u32 height` (draw).
 * A decoder's replies are checked, since hostile bytes may have taken it over: a reply that no
 * honest decoder gives throws, and the process is killed.
 *
 * Reply: `u8 kind`, then for `decoded` `f64 decodeMs | u32 width | u32 height | u8 format | u8
 * decoder`, for `refused` a JSON
 *        `{ reason, message }`, for `drawn` the JPEG file.
 */
import { describeReason, REASONS, type Reason } from '../../errors.js';
import type { DecoderName } from './decode-image.js';
import type { DecodableFormat } from './sniff.js';
import type { TurboJpegMissing } from './turbojpeg-library.js';

/** In the order of their numbers on the wire. */
const FORMATS: readonly DecodableFormat[] = ['jpeg', 'png', 'webp'];
const DECODERS: readonly DecoderName[] = ['turbojpeg', 'sharp'];

export type DecoderCall =
  | {
      readonly kind: 'decode';
      readonly slot: number;
      readonly bytes: number;
      /**
       * A PixelPlan as JSON: every call says what its model needs, so a decoder knows no models.
       */
      readonly plan: string;
    }
  /**
   * Draw a picture of this size and answer with it as a JPEG file: the service measures its
   * throughput with it before it is ready.
   */
  | { readonly kind: 'draw'; readonly width: number; readonly height: number };

export type DecoderReply =
  /**
   * The pixels are in the slot. `width` and `height` are the picture's own, after its EXIF
   * orientation.
   */
  | {
      readonly kind: 'decoded';
      readonly decodeMs: number;
      readonly width: number;
      readonly height: number;
      readonly format: DecodableFormat;
      /** The decoder that was used. */
      readonly decoder: DecoderName;
    }
  /** The image is at fault (INTERNAL: the decoder is). */
  | { readonly kind: 'refused'; readonly reason: Reason; readonly message: string }
  /** The call had ended when the image's turn came. */
  | { readonly kind: 'skipped' }
  | { readonly kind: 'drawn'; readonly jpeg: Buffer };

/** A decoder process's first message, when it is ready. */
export interface DecoderHello {
  /** The decoder of ordinary JPEG files. */
  readonly jpegDecoder: DecoderName;
  /** Why not libturbojpeg, if that was wanted. */
  readonly jpegFallback: TurboJpegMissing | null;
}

const CALL_BYTES = 9;
const CALL = { decode: 1, draw: 2 } as const;
const REPLY = { decoded: 1, refused: 2, skipped: 3, drawn: 4 } as const;

export function encodeCall(call: DecoderCall): Buffer {
  const bytes = Buffer.alloc(
    CALL_BYTES + (call.kind === 'decode' ? Buffer.byteLength(call.plan) : 0),
  );
  bytes.writeUInt8(CALL[call.kind], 0);
  if (call.kind === 'draw') {
    bytes.writeUInt32LE(call.width, 1);
    bytes.writeUInt32LE(call.height, 5);
  } else {
    bytes.writeUInt32LE(call.slot, 1);
    bytes.writeUInt32LE(call.bytes, 5);
    bytes.write(call.plan, CALL_BYTES);
  }
  return bytes;
}

export function decodeCall(bytes: Buffer): DecoderCall {
  if (bytes.readUInt8(0) === CALL.draw) {
    return { kind: 'draw', width: bytes.readUInt32LE(1), height: bytes.readUInt32LE(5) };
  }
  return {
    kind: 'decode',
    slot: bytes.readUInt32LE(1),
    bytes: bytes.readUInt32LE(5),
    plan: bytes.toString('utf8', CALL_BYTES),
  };
}

export function encodeReply(reply: DecoderReply): Buffer {
  const kind = Buffer.of(REPLY[reply.kind]);
  switch (reply.kind) {
    case 'skipped':
      return kind;
    case 'drawn':
      return Buffer.concat([kind, reply.jpeg]);
    case 'refused':
      return Buffer.concat([
        kind,
        Buffer.from(JSON.stringify({ reason: reply.reason, message: reply.message })),
      ]);
    case 'decoded': {
      const bytes = Buffer.alloc(19);
      bytes.writeUInt8(REPLY.decoded, 0);
      bytes.writeDoubleLE(reply.decodeMs, 1);
      bytes.writeUInt32LE(reply.width, 9);
      bytes.writeUInt32LE(reply.height, 13);
      bytes.writeUInt8(FORMATS.indexOf(reply.format), 17);
      bytes.writeUInt8(DECODERS.indexOf(reply.decoder), 18);
      return bytes;
    }
  }
}

/** Throws if the bytes are not a reply, or not a reply to this kind of call. */
export function decodeReply(bytes: Buffer, asked: DecoderCall['kind']): DecoderReply {
  const reply = readReply(bytes);
  if ((reply.kind === 'drawn') !== (asked === 'draw'))
    throw new Error(`"${reply.kind}" is not an answer to "${asked}"`);
  return reply;
}

function readReply(bytes: Buffer): DecoderReply {
  switch (bytes.readUInt8(0)) {
    case REPLY.decoded: {
      const [decodeMs, format, decoder] = [
        bytes.readDoubleLE(1),
        FORMATS[bytes.readUInt8(17)],
        DECODERS[bytes.readUInt8(18)],
      ];
      if (
        !(decodeMs >= 0 && decodeMs < Number.POSITIVE_INFINITY) ||
        format === undefined ||
        decoder === undefined
      ) {
        throw new Error('an invalid decoder reply');
      }
      return {
        kind: 'decoded',
        decodeMs,
        width: bytes.readUInt32LE(9),
        height: bytes.readUInt32LE(13),
        format,
        decoder,
      };
    }
    case REPLY.refused:
      return { kind: 'refused', ...readRejection(bytes.toString('utf8', 1)) };
    case REPLY.skipped:
      return { kind: 'skipped' };
    case REPLY.drawn:
      return { kind: 'drawn', jpeg: Buffer.from(bytes.subarray(1)) };
    default:
      throw new Error('a decoder reply of unknown kind');
  }
}

/** A decoder may reject the image, or report a fault of its own, and nothing else. */
function readRejection(text: string): { reason: Reason; message: string } {
  const { reason, message } = JSON.parse(text) as { reason?: unknown; message?: unknown };
  const known =
    typeof reason === 'string' && Object.hasOwn(REASONS, reason) ? (reason as Reason) : null;
  const mayBeSaid =
    known === 'INTERNAL' || (known !== null && describeReason(known).field === 'image');
  if (known === null || !mayBeSaid || typeof message !== 'string')
    throw new Error('an invalid rejection');
  return { reason: known, message };
}
