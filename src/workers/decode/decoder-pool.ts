/**
 * The decoder processes.
 *
 * An encoded image reaches its decoder through the decoder's inbox, an unlinked tmpfs file like the
 * slots: the front writes the bytes once, the decoder reads them once. A mebibyte of it is reserved
 * at start; a larger image takes more, which the next image gives back. A decoder has one inbox, so
 * it gets no image in advance: no image waits behind one that turns out to take seconds.
 */
import { closeSync, ftruncateSync } from 'node:fs';
import { messageOf, RequestError } from '../../errors.js';
import { availableCores } from '../../system/cores.js';
import { writeFullyAt } from '../../system/positional-io.js';
import { ProcessWorker } from '../process/process-worker.js';
import type { ReportChild } from '../process/supervised-child.js';
import { openUnlinkedFile, reserve, type SlotFile } from '../slots.js';
import type { DecoderName, JpegDecoderChoice } from './decode-image.js';
import type { DecoderSettings } from './decoder-main.js';
import {
  type DecodedImage,
  type DecodeRequest,
  type DecoderHello,
  decodeReply,
  encodeCall,
} from './messages.js';
import type { TurboJpegMissing } from './turbojpeg-library.js';

export interface DecoderPoolSettings {
  readonly decoderProcesses: number | 'auto';
  readonly jpegDecoder: JpegDecoderChoice;
  readonly maxImageBytes: number;
  readonly maxImagePixels: number;
  readonly sharedMemoryDir: string;
  readonly startTimeoutMs: number;
}

/**
 * The whole environment of a decoder. glibc: fewer arenas, and large blocks that are mapped one by
 * one, so that freed memory goes back. libvips: images of any size in memory, because it cannot
 * create the temporary files in which it would put those above 100 MB.
 */
export const DECODER_ENVIRONMENT = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '1048576',
  VIPS_DISC_THRESHOLD: '64g',
};
/** Replies have some dozens of bytes, a drawn picture some hundred thousand. */
const MAX_FRAME_BYTES = 1024 * 1024;
/** Images in a decoder at a time: its inbox has room for one. */
export const DECODER_MAX_IN_FLIGHT = 1;
const RESERVED_INBOX_BYTES = 1024 * 1024;
/** A lower priority than the front, a higher one than inference, which waits for decoders. */
const NICENESS = 4;
/** The size of an ordinary photo. */
const DRAWN_WIDTH = 500;
const DRAWN_HEIGHT = 375;

/** Processor time for any image, and for each pixel and byte that an image may have. */
const BASE_CPU_MS = 1_000;
const PIXELS_A_MS = 10_000;
const BYTES_A_MS = 4_096;

/**
 * Processor time that a decoder may spend on one image before it is killed: 10 s for limits of 50
 * million pixels and 16 MiB, within which no image takes more than 3 s of a core of 2023
 * (docs/internals/reliability.md). It follows from the limits on images, so it is not an option.
 */
export function decodeLimitMs({
  maxImagePixels,
  maxImageBytes,
}: Pick<DecoderPoolSettings, 'maxImagePixels' | 'maxImageBytes'>): number {
  return Math.round(BASE_CPU_MS + maxImagePixels / PIXELS_A_MS + maxImageBytes / BYTES_A_MS);
}

export class DecoderPool {
  readonly workers: readonly ProcessWorker<DecodeRequest, DecodedImage>[];
  /** The decoder of ordinary JPEG files. */
  readonly jpegDecoder: DecoderName;
  /** Why libturbojpeg is not used although it may be; null: it is used, or not wanted. */
  readonly jpegFallback: TurboJpegMissing | null;
  /** A drawn JPEG file of the size of a photo, for smoke tests. */
  readonly picture: Buffer;
  readonly #stop: () => Promise<void>;

  private constructor(
    workers: DecoderPool['workers'],
    { jpegDecoder, jpegFallback, picture }: DecoderHello,
    stop: () => Promise<void>,
  ) {
    this.workers = workers;
    this.jpegDecoder = jpegDecoder;
    this.jpegFallback = jpegFallback;
    this.picture = Buffer.from(picture ?? '', 'base64');
    this.#stop = stop;
  }

  /** Rejects with SetupError after stopping all decoders. */
  static async create(
    slots: SlotFile,
    settings: DecoderPoolSettings,
    report: ReportChild,
    cpuMs = decodeLimitMs(settings),
  ): Promise<DecoderPool> {
    const { decoderProcesses, maxImagePixels, jpegDecoder, sharedMemoryDir } = settings;
    const count = decoderProcesses === 'auto' ? availableCores() : decoderProcesses;
    const inboxes: number[] = [];
    /** The first decoder draws the picture, at its first start. */
    let draw: DecoderSettings['draw'] = drawnSize(settings);
    const workers = Array.from({ length: count }, (_, index) => {
      const inbox = openInbox(sharedMemoryDir);
      inboxes.push(inbox);
      return new ProcessWorker<DecodeRequest, DecodedImage>(
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
          report,
          settings: (): DecoderSettings => {
            const drawsNow = draw;
            draw = null;
            return { maxImagePixels, jpegDecoder, slots: slots.layout, draw: drawsNow };
          },
        },
        { encode: createEncoder(inbox), decode: (bytes) => [decodeReply(bytes)] },
        { cpuMs },
      );
    });
    const stop = async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
      for (const inbox of inboxes) closeSync(inbox);
    };
    const started = await Promise.allSettled(workers.map((worker) => worker.start()));
    const failure = started.find((result) => result.status === 'rejected');
    if (failure !== undefined) {
      await stop();
      throw failure.reason;
    }
    return new DecoderPool(workers, workers[0]?.hello as DecoderHello, stop);
  }

  /** Does not wait for images in flight. */
  stop(): Promise<void> {
    return this.#stop();
  }
}

/**
 * Width and height of an ordinary photo, or less where the limits are lower: a drawn JPEG has less
 * than 1,000 bytes and half a byte for each pixel.
 */
function drawnSize({ maxImageBytes, maxImagePixels }: DecoderPoolSettings): {
  readonly width: number;
  readonly height: number;
} {
  const bytes = Math.max(maxImageBytes - 1000, 0);
  const pixels = Math.min(DRAWN_WIDTH * DRAWN_HEIGHT, maxImagePixels, 2 * bytes);
  const width = Math.max(1, Math.floor(Math.sqrt((pixels * DRAWN_WIDTH) / DRAWN_HEIGHT)));
  return { width, height: Math.max(1, Math.floor(pixels / width)) };
}

function openInbox(directory: string): number {
  const fd = openUnlinkedFile(directory);
  reserve(fd, 0, RESERVED_INBOX_BYTES, directory, 'decoder inboxes');
  return fd;
}

/** Writes each image into the inbox. At most one is in flight, so the image before it was read. */
function createEncoder(inbox: number): (batch: readonly DecodeRequest[]) => Uint8Array {
  let isGrown = false;
  return ([request]) => {
    const { image, slot, plan } = request as DecodeRequest;
    if (isGrown) ftruncateSync(inbox, RESERVED_INBOX_BYTES);
    isGrown = image.byteLength > RESERVED_INBOX_BYTES;
    try {
      writeFullyAt(inbox, image, 0);
    } catch (error) {
      const text = 'the server has no memory left for an image of this size: retry later';
      const cause = new Error(`shared-memory-dir: ${messageOf(error)}`);
      throw new RequestError('OVERLOADED', text, { cause });
    }
    return encodeCall({ slot, bytes: image.byteLength, plan });
  };
}
