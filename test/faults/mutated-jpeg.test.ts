/**
 * Damaged JPEG files through two real decoder processes, one with libturbojpeg and one with sharp
 * alone: neither dies, each file is answered, and both answer the same pixels or the same
 * rejection.
 *
 * 600 files by default; VITSERVE_TEST_MUTATIONS asks for more, VITSERVE_TEST_SEED for others.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Recipe } from '#vitserve/models/recipe.js';
import { createImageDecoder } from '#vitserve/workers/decode/decode-image.js';
import { DecoderPool } from '#vitserve/workers/decode/decoder-pool.js';
import type { DecodedImage } from '#vitserve/workers/decode/messages.js';
import type { ChildEvent } from '#vitserve/workers/process/supervised-child.js';
import { SlotFile, SlotView } from '#vitserve/workers/slots.js';
import type { WorkResult } from '#vitserve/workers/worker.js';
import { drawJpegs, mutate } from '../support/jpeg-mutations.js';
import type { MutatedFile } from '../support/mutations.js';

const COUNT = Number(process.env.VITSERVE_TEST_MUTATIONS ?? 600);
const SEED = Number(process.env.VITSERVE_TEST_SEED ?? 1);
const SIDE = 48;
const LAYOUT = { pixelBytes: SIDE * SIDE * 3 };
const RECIPE: Recipe = {
  resize: { mode: 'squash', height: SIDE, width: SIDE },
  interpolation: 'bilinear',
  crop: null,
  rescale: 1 / 255,
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  normalizedInGraph: true,
};
const PLAN = JSON.stringify({ recipe: RECIPE, height: SIDE, width: SIDE });
const MAX_IMAGE_PIXELS = 1_000_000;
/** Decoding ends long before; a slot with an earlier expiry would be skipped. */
const FAR_AWAY = Number.MAX_SAFE_INTEGER;

const { jpegFallback } = createImageDecoder({ maxImagePixels: 1 });

interface Side {
  readonly pool: DecoderPool;
  readonly slot: number;
  readonly pixels: Buffer;
}

describe('damaged JPEG files', { skip: jpegFallback?.why ?? false }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
  const lost: string[] = [];
  let slots: SlotFile;
  let view: SlotView;
  let sides: Side[] = [];
  let files: MutatedFile[];
  let intact: readonly Buffer[];

  before(async () => {
    slots = SlotFile.create(folder, LAYOUT, 2);
    view = new SlotView(slots.fd, LAYOUT);
    const report = (event: ChildEvent) => {
      if (event.kind === 'child-lost') lost.push(`${event.cause}: ${event.detail}`);
    };
    sides = await Promise.all(
      (['auto', 'sharp'] as const).map(async (jpegDecoder, slot) => ({
        slot,
        pixels: Buffer.alloc(LAYOUT.pixelBytes),
        pool: await DecoderPool.create(
          slots,
          {
            decoderProcesses: 1,
            jpegDecoder,
            maxImageBytes: 16 * 2 ** 20,
            maxImagePixels: MAX_IMAGE_PIXELS,
            sharedMemoryDir: folder,
            startTimeoutMs: 60_000,
          },
          report,
          60_000,
        ),
      })),
    );
    intact = await drawJpegs();
    files = mutate(intact, COUNT, SEED);
  });

  after(async () => {
    await Promise.all(sides.map(({ pool }) => pool.stop()));
    slots.close();
    rmSync(folder, { recursive: true });
  });

  async function decode(
    { pool, slot, pixels }: Side,
    image: Buffer,
  ): Promise<WorkResult<DecodedImage>> {
    slots.open(slot, FAR_AWAY);
    const [reply] = (await pool.workers[0]?.run([{ slot, image, plan: PLAN }])) ?? [];
    assert.ok(reply);
    if (reply.kind === 'done') view.readPixels(slot, pixels, 0, LAYOUT.pixelBytes);
    return reply;
  }

  async function decodeByBoth(image: Buffer) {
    const [fast, plain] = sides as [Side, Side];
    const [fastReply, plainReply] = await Promise.all([decode(fast, image), decode(plain, image)]);
    return { fastReply, plainReply, equal: fast.pixels.equals(plain.pixels) };
  }

  test('intact ones are decoded alike, those in CMYK by sharp', async () => {
    const decoders: string[] = [];
    for (const image of intact) {
      const { fastReply, plainReply, equal } = await decodeByBoth(image);
      assert.ok(fastReply.kind === 'done' && plainReply.kind === 'done');
      const [fast, plain] = [fastReply.output, plainReply.output];
      assert.equal(plain.decoder, 'sharp');
      assert.deepEqual([fast.width, fast.height], [plain.width, plain.height]);
      assert.ok(equal);
      decoders.push(fast.decoder);
    }
    assert.deepEqual(
      decoders,
      intact.map((_, index) => (index === 7 ? 'sharp' : 'turbojpeg')),
    );
  });

  test('damaged ones get the same answer from both, and no process is lost', async (t) => {
    const counts = { 'by libturbojpeg': 0, 'by sharp in both': 0, 'rejected by both': 0 };
    const different: string[] = [];
    for (const { name, bytes } of files) {
      const { fastReply, plainReply, equal } = await decodeByBoth(bytes);
      if (fastReply.kind === 'done' && plainReply.kind === 'done') {
        const [fast, plain] = [fastReply.output, plainReply.output];
        counts[fast.decoder === 'turbojpeg' ? 'by libturbojpeg' : 'by sharp in both']++;
        const sameSize = fast.width === plain.width && fast.height === plain.height;
        if (!equal || !sameSize) different.push(`${name}: other pixels`);
      } else if (fastReply.kind === 'rejected' && plainReply.kind === 'rejected') {
        counts['rejected by both']++;
        assert.match(fastReply.reason, /^IMAGE_/, `${name}: ${fastReply.message}`);
        assert.deepEqual(fastReply, plainReply, name);
      } else {
        different.push(
          `${name}: ${fastReply.kind}, with sharp ${plainReply.kind} ${JSON.stringify(plainReply)}`,
        );
      }
    }
    t.diagnostic(`${files.length} files: ${JSON.stringify(counts)}`);
    assert.deepEqual(different, []);
    assert.deepEqual(lost, []);
    // If one of these were zero, the files would not be those that this test is about.
    for (const [what, count] of Object.entries(counts))
      assert.ok(count > files.length / 50, `${what}: ${count}`);
  });
});
