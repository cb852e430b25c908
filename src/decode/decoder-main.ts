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
import type { JpegDecoderChoice } from './decode-image.js';
import { drawJpeg } from './draw.js';
import { type DecoderHello, type DecoderReply, decodeCall, encodeReply } from './messages.js';
import { createPixelPreparer } from './prepare-pixels.js';

export interface DecoderSettings {
  readonly recipe: Recipe;
  readonly height: number;
  readonly width: number;
  readonly maxImagePixels: number;
  readonly jpegDecoder: JpegDecoderChoice;
  readonly slots: SlotLayout;
}

const FIRST_INBOX_FD = FIRST_SHARED_FD + 1;

await runChild<DecoderSettings>({
  async start(settings) {
    const slots = new SlotView(FIRST_SHARED_FD, settings.slots);
    const preparer = createPixelPreparer(settings);
    const pixels = new Uint8Array(settings.slots.pixelBytes);

    const decode = async (slot: number, inbox: number, length: number): Promise<DecoderReply> => {
      if (!slots.isWanted(slot, systemClock.now())) return { kind: 'skipped' };
      const startedAt = systemClock.now();
      try {
        const { sourceWidth, sourceHeight, format, decoder } = await preparer.prepare(readInbox(inbox, length), pixels);
        slots.writePixels(slot, pixels);
        const decodeMs = systemClock.now() - startedAt;
        return { kind: 'decoded', decodeMs, width: sourceWidth, height: sourceHeight, format, decoder };
      } catch (error) {
        const { reason, message } = toRequestError(error);
        return { kind: 'refused', reason, message: reason === 'INTERNAL' ? messageOf(error) : message };
      }
    };

    const { jpegDecoder, jpegFallback } = preparer;
    return {
      hello: { jpegDecoder, jpegFallback } satisfies DecoderHello,
      answer: async (bytes) => {
        const call = decodeCall(bytes);
        if (call.kind === 'draw') return encodeReply({ kind: 'drawn', jpeg: await drawJpeg(call.width, call.height) });
        return encodeReply(await decode(call.slot, call.inbox, call.bytes));
      },
    };
  },
});

function readInbox(inbox: number, length: number): Buffer {
  const image = Buffer.allocUnsafeSlow(length);
  for (let done = 0; done < length; ) {
    const count = readSync(FIRST_INBOX_FD + inbox, image, done, length - done, done);
    if (count === 0) throw new Error('the inbox is shorter than the image');
    done += count;
  }
  return image;
}
