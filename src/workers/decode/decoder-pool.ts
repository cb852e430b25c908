/**
 * The decoder processes.
 *
 * An encoded image reaches its decoder through the decoder's inbox, an unlinked tmpfs file like the
 * slots: the front writes the bytes once, the decoder reads them once. A mebibyte of it is reserved
 * at start; what a larger image took beyond that is given back after it. There is one inbox a
 * decoder, so it is given no image in advance: nobody waits behind an image that turns out to take
 * seconds.
 */
import { closeSync, ftruncateSync, writeSync } from 'node:fs';
import { messageOf, RequestError } from '../../errors.js';
import { availableCores } from '../../system/cores.js';
import { Lane } from '../process/lane.js';
import type { ChildObserver } from '../process/supervised-child.js';
import { openUnlinkedFile, reserve, type SlotFile } from '../slots.js';
import type { DecoderName, JpegDecoderChoice } from './decode-image.js';
import type { DecoderSettings } from './decoder-main.js';
import { type DecoderHello, type DecoderReply, decodeReply, encodeCall } from './messages.js';
import type { TurboJpegMissing } from './turbojpeg-library.js';

/** An image to be decoded into a slot; `draw` is for the exercise before ready. */
export type DecodeRequest =
  | {
      readonly kind: 'decode';
      readonly slot: number;
      readonly image: Uint8Array;
      /** The model's PixelPlan as JSON. */
      readonly plan: string;
    }
  | { readonly kind: 'draw'; readonly width: number; readonly height: number };

export type DecoderLane = Lane<DecodeRequest, DecoderReply>;

export interface DecoderPoolSettings {
  readonly decoderProcesses: number | 'auto';
  readonly jpegDecoder: JpegDecoderChoice;
  readonly maxImageBytes: number;
  readonly maxImagePixels: number;
  readonly sharedMemoryDir: string;
  readonly startTimeoutMs: number;
}

/**
 * All that a decoder is told by its environment: fewer arenas, and large pieces that are mapped one
 * by one and not kept, so that glibc gives back what was freed; and pictures in memory however
 * large they are, where libvips would put those above 100 MB into a temporary file (of which it can
 * make none).
 */
export const DECODER_ENVIRONMENT = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '1048576',
  VIPS_DISC_THRESHOLD: '64g',
};
/** Replies have some dozens of bytes, and the picture drawn at start some hundred thousand. */
const MAX_FRAME_BYTES = 1024 * 1024;
/** Calls that a decoder is given at a time: its inbox has room for one image. */
export const DECODER_CALLS = 1;
const RESERVED_INBOX_BYTES = 1024 * 1024;
/** Decoders give way to the front and go before the inference processes, which they feed. */
const NICENESS = 4;

/** Processor time for any image, and for each pixel and byte that an image may have. */
const BASE_CPU_MS = 1_000;
const PIXELS_A_MS = 10_000;
const BYTES_A_MS = 4_096;

/**
 * Processor time that a decoder may spend on one image before it is killed: 10 s for images of 50
 * million pixels and 16 MiB, where no image that is within the limits takes more than 3 s of a core
 * of 2023 (docs/bad-input.md). It is no option: it follows from the limits on images.
 */
export function decodeLimitMs({
  maxImagePixels,
  maxImageBytes,
}: Pick<DecoderPoolSettings, 'maxImagePixels' | 'maxImageBytes'>): number {
  return Math.round(BASE_CPU_MS + maxImagePixels / PIXELS_A_MS + maxImageBytes / BYTES_A_MS);
}

export class DecoderPool {
  readonly lanes: readonly DecoderLane[];

  readonly #inboxes: readonly number[];

  private constructor(lanes: readonly DecoderLane[], inboxes: readonly number[]) {
    this.lanes = lanes;
    this.#inboxes = inboxes;
  }

  static async create(
    slots: SlotFile,
    settings: DecoderPoolSettings,
    observer: ChildObserver,
    cpuMs = decodeLimitMs(settings),
  ): Promise<DecoderPool> {
    const count =
      settings.decoderProcesses === 'auto' ? availableCores() : settings.decoderProcesses;
    const decoderSettings: DecoderSettings = {
      maxImagePixels: settings.maxImagePixels,
      jpegDecoder: settings.jpegDecoder,
      slots: slots.layout,
    };
    const inboxes: number[] = [];
    const lanes = Array.from({ length: count }, (_, index) => {
      const inbox = openInbox(settings.sharedMemoryDir);
      inboxes.push(inbox);
      return new Lane(
        {
          role: 'decoder' as const,
          index,
          entry: new URL('./decoder-main.js', import.meta.url),
          niceness: NICENESS,
          sharedFds: [slots.fd, inbox],
          environment: DECODER_ENVIRONMENT,
          nodeFlags: ['--expose-gc'],
          maxFrameBytes: MAX_FRAME_BYTES,
          startTimeoutMs: settings.startTimeoutMs,
          observer,
          settings: () => decoderSettings,
        },
        { encode: createEncoder(inbox), decode: (bytes, { kind }) => decodeReply(bytes, kind) },
        { cpuMs },
      );
    });
    const pool = new DecoderPool(lanes, inboxes);
    const started = await Promise.allSettled(lanes.map((lane) => lane.start()));
    const failure = started.find((result) => result.status === 'rejected');
    if (failure !== undefined) {
      await pool.stop();
      throw failure.reason;
    }
    return pool;
  }

  /** What ordinary JPEG files are decoded with. */
  get jpegDecoder(): DecoderName {
    return this.#hello.jpegDecoder;
  }

  /**
   * Why libturbojpeg is not used though it may be; null where it is, or where it was not wanted.
   */
  get jpegFallback(): TurboJpegMissing | null {
    return this.#hello.jpegFallback;
  }

  /** What the first decoder said of itself; the others are its like. */
  get #hello(): DecoderHello {
    return (this.lanes[0] as DecoderLane).hello as DecoderHello;
  }

  /** A drawn picture as a JPEG file, made by one of the decoders. */
  async draw(width: number, height: number): Promise<Buffer> {
    const reply = await this.lanes[0]?.call({ kind: 'draw', width, height });
    if (reply?.kind !== 'drawn') throw new Error('the decoder did not draw');
    return reply.jpeg;
  }

  async stop(): Promise<void> {
    await Promise.all(this.lanes.map((lane) => lane.stop()));
    for (const fd of this.#inboxes) closeSync(fd);
  }
}

function openInbox(directory: string): number {
  const fd = openUnlinkedFile(directory);
  reserve(fd, 0, RESERVED_INBOX_BYTES, directory, 'decoder inboxes');
  return fd;
}

/**
 * Puts each image into the inbox. One call is in flight at most (`DECODER_CALLS`), so the image
 * before it has been read.
 */
function createEncoder(inbox: number): (request: DecodeRequest) => Uint8Array {
  let isGrown = false;
  return (request) => {
    if (request.kind === 'draw') return encodeCall(request);
    const { image, slot, plan } = request;
    if (isGrown) ftruncateSync(inbox, RESERVED_INBOX_BYTES);
    isGrown = image.byteLength > RESERVED_INBOX_BYTES;
    try {
      for (let done = 0; done < image.byteLength; ) {
        done += writeSync(inbox, image, done, image.byteLength - done, done);
      }
    } catch (error) {
      throw new RequestError(
        'OVERLOADED',
        'the server has no memory left for an image of this size',
        {
          cause: new Error(`shared-memory-dir: ${messageOf(error)}`),
        },
      );
    }
    return encodeCall({ kind: 'decode', slot, bytes: image.byteLength, plan });
  };
}
