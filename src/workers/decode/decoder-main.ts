/**
 * The decoder process: takes an encoded image from its inbox, writes the model's pixels into a
 * slot.
 *
 * It parses hostile bytes, so it has nothing to lose: no sockets, an empty environment, only the
 * descriptors it needs, no more memory than the largest image takes, and no way to get any of it
 * (`workers/process/sandbox.ts`). A fault of the image becomes a reply; a crash, or exhausted
 * memory, costs one process, which its supervisor replaces.
 */
import { setImmediate } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
import { systemClock } from '../../clock.js';
import { messageOf, toRequestError } from '../../errors.js';
import { readFullyAt } from '../../system/positional-io.js';
import { FIRST_SHARED_FD, runChild } from '../process/child-main.js';
import { DECODER_OOM_SCORE } from '../process/oom-score.js';
import { type SlotLayout, SlotView } from '../slots.js';
import type { WorkResult } from '../worker.js';
import type { JpegDecoderChoice } from './decode-image.js';
import { drawJpeg } from './draw.js';
import { isMemoryShortage } from './memory-shortage.js';
import {
  type DecodedImage,
  type DecoderCall,
  type DecoderHello,
  decodeCall,
  encodeReply,
} from './messages.js';
import {
  createPixelDecoder,
  type PixelDecoder,
  type PixelPlan,
  type PixelPreparer,
} from './prepare-pixels.js';

export interface DecoderSettings {
  readonly maxImagePixels: number;
  readonly jpegDecoder: JpegDecoderChoice;
  readonly slots: SlotLayout;
  /** Pixels of a picture that the process draws before it is ready; null: none. */
  readonly draw: { readonly width: number; readonly height: number } | null;
}

/**
 * How many plans are kept ready. Each model has one; beyond this number the least recently used is
 * dropped and made again on its next use.
 */
const PLANS_KEPT = 16;

/**
 * Private memory beyond that of the ready process: for each pixel of the largest image as much as
 * the most demanding format takes (measured: 20 bytes, an interlaced PNG of 16 bits and four
 * channels that is rotated), and some for everything else.
 */
const BYTES_PER_PIXEL = 24;
const WORKING_BYTES = 192 * 1024 * 1024;

/**
 * When so much memory lies outside of the JavaScript heap, what pictures have left behind is
 * collected at once.
 */
const MOST_LEFT_BEHIND = 64 * 1024 * 1024;

const INBOX_FD = FIRST_SHARED_FD + 1;

await runChild<DecoderSettings>({
  oomScoreAdded: DECODER_OOM_SCORE,
  async start(settings) {
    const slots = new SlotView(FIRST_SHARED_FD, settings.slots);
    const decoder = createPixelDecoder(settings);
    const ready = new Map<string, Prepared>();
    const preparedFor = (plan: string): Prepared => {
      const found = ready.get(plan) ?? prepare(plan, decoder);
      ready.delete(plan);
      ready.set(plan, found);
      const [oldest] = ready.keys();
      if (ready.size > PLANS_KEPT && oldest !== undefined) ready.delete(oldest);
      return found;
    };

    const decode = async (call: DecoderCall): Promise<WorkResult<DecodedImage>> => {
      const { slot, bytes: length } = call;
      if (!slots.isWanted(slot, systemClock.now())) return { kind: 'skipped' };
      const startedAt = systemClock.now();
      try {
        const { preparer, pixels } = preparedFor(call.plan);
        const prepared = await preparer.prepare(readInbox(length), pixels);
        slots.writePixels(slot, pixels);
        const decodeMs = systemClock.now() - startedAt;
        const { sourceWidth: width, sourceHeight: height, format, decoder: by } = prepared;
        return { kind: 'done', output: { decodeMs, width, height, format, decoder: by } };
      } catch (error) {
        // The cause may be the image or what the process has accumulated: a fresh process will
        // tell.
        if (isMemoryShortage(error)) throw error;
        const { reason, message } = toRequestError(error);
        return {
          kind: 'rejected',
          reason,
          message: reason === 'INTERNAL' ? messageOf(error) : message,
        };
      }
    };

    const { jpegDecoder, jpegFallback } = decoder;
    return {
      hello: async (): Promise<DecoderHello> => {
        const { draw } = settings;
        const picture = draw === null ? null : await drawJpeg(draw.width, draw.height);
        return { jpegDecoder, jpegFallback, picture: picture?.toString('base64') ?? null };
      },
      limits: {
        noNewDescriptors: true,
        memoryBytes: WORKING_BYTES + settings.maxImagePixels * BYTES_PER_PIXEL,
      },
      answer: async (bytes) => {
        const reply = await decode(decodeCall(bytes));
        if (leftBehind() > MOST_LEFT_BEHIND) await collectGarbage();
        return encodeReply(reply);
      },
    };
  },
});

interface Prepared {
  readonly preparer: PixelPreparer;
  /** The preparer's target; exactly as large as the model's pixels. */
  readonly pixels: Uint8Array;
}

function prepare(text: string, decoder: PixelDecoder): Prepared {
  const plan = JSON.parse(text) as PixelPlan;
  return {
    preparer: decoder.preparerFor(plan),
    pixels: new Uint8Array(plan.height * plan.width * 3),
  };
}

/**
 * Calls the function that the pool's flag for decoders exposes; some 10 ms. One collection is not
 * enough: it may end one that had begun while the picture was alive, and threads of V8 free what it
 * finds, for which only the next collection waits. sharp's memory is then freed in a turn of the
 * event loop, which does not turn between calls.
 */
async function collectGarbage(): Promise<void> {
  for (let collection = 0; collection < 3; collection++) {
    (globalThis as { gc?: () => void }).gc?.();
    await setImmediate();
  }
}

/** Bytes outside of the JavaScript heap that its objects hold. */
function leftBehind(): number {
  return getHeapStatistics().external_memory;
}

function readInbox(length: number): Buffer {
  const image = Buffer.allocUnsafeSlow(length);
  if (!readFullyAt(INBOX_FD, image, 0)) throw new Error('the inbox is shorter than the image');
  return image;
}
