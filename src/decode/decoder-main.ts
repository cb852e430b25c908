/**
 * The decoder process: takes an encoded image from its inbox, writes the model's pixels into a slot.
 *
 * It parses hostile bytes, so it has nothing to lose: no sockets, an empty environment, only the descriptors it needs.
 * Whatever is wrong with an image becomes a reply; a crash costs one process and is mended by its supervisor.
 */
import { readSync } from 'node:fs';
import { systemClock } from '../clock.js';
import { messageOf, toRequestError } from '../errors.js';
import type { Recipe } from '../model/recipe.js';
import { FIRST_SHARED_FD, runChild } from '../process/child-main.js';
import { type SlotLayout, SlotView } from '../slots/slots.js';
import { drawJpeg } from './draw.js';
import { type DecoderCall, type DecoderReply, decodeCall, encodeReply } from './messages.js';
import { createPixelPreparer, type PixelPreparer } from './prepare-pixels.js';

export interface DecoderSettings {
  readonly maxImagePixels: number;
  readonly slots: SlotLayout;
}

/** What a model wants of an image. Travels with every call, as JSON. */
export interface PixelPlan {
  readonly recipe: Recipe;
  readonly height: number;
  readonly width: number;
}

/** How many plans are kept ready. Each model has one; beyond this the one unused longest is made anew when it comes again. */
const PLANS_KEPT = 16;

const FIRST_INBOX_FD = FIRST_SHARED_FD + 1;

await runChild<DecoderSettings>({
  async start(settings) {
    const slots = new SlotView(FIRST_SHARED_FD, settings.slots);
    const ready = new Map<string, Prepared>();
    const preparedFor = (plan: string): Prepared => {
      const found = ready.get(plan) ?? prepare(plan, settings.maxImagePixels);
      ready.delete(plan);
      ready.set(plan, found);
      const [oldest] = ready.keys();
      if (ready.size > PLANS_KEPT && oldest !== undefined) ready.delete(oldest);
      return found;
    };

    const decode = async (call: Extract<DecoderCall, { kind: 'decode' }>): Promise<DecoderReply> => {
      const { slot, inbox, bytes: length } = call;
      if (!slots.isWanted(slot, systemClock.now())) return { kind: 'skipped' };
      const startedAt = systemClock.now();
      try {
        const { preparer, pixels } = preparedFor(call.plan);
        const { sourceWidth, sourceHeight, format } = await preparer.prepare(readInbox(inbox, length), pixels);
        slots.writePixels(slot, pixels);
        const decodeMs = systemClock.now() - startedAt;
        return { kind: 'decoded', decodeMs, width: sourceWidth, height: sourceHeight, format };
      } catch (error) {
        const { reason, message } = toRequestError(error);
        return { kind: 'refused', reason, message: reason === 'INTERNAL' ? messageOf(error) : message };
      }
    };

    return {
      hello: {},
      answer: async (bytes) => {
        const call = decodeCall(bytes);
        if (call.kind === 'draw') return encodeReply({ kind: 'drawn', jpeg: await drawJpeg(call.width, call.height) });
        return encodeReply(await decode(call));
      },
    };
  },
});

interface Prepared {
  readonly preparer: PixelPreparer;
  /** Where the preparer writes; exactly as large as the model's pixels. */
  readonly pixels: Uint8Array;
}

function prepare(plan: string, maxImagePixels: number): Prepared {
  const { recipe, height, width } = JSON.parse(plan) as PixelPlan;
  const preparer = createPixelPreparer({ recipe, height, width, maxImagePixels });
  return { preparer, pixels: new Uint8Array(height * width * 3) };
}

function readInbox(inbox: number, length: number): Buffer {
  const image = Buffer.allocUnsafeSlow(length);
  for (let done = 0; done < length; ) {
    const count = readSync(FIRST_INBOX_FD + inbox, image, done, length - done, done);
    if (count === 0) throw new Error('the inbox is shorter than the image');
    done += count;
  }
  return image;
}
