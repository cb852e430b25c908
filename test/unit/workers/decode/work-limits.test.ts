/**
 * What is rejected or cut down by the structure of a file, and that files of honest encoders are
 * not.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import sharp from 'sharp';
import { type Reason, RequestError } from '#vitserve/errors.js';
import { boundWork } from '#vitserve/workers/decode/bound-work.js';
import { createImageDecoder } from '#vitserve/workers/decode/decode-image.js';
import { readHeader } from '#vitserve/workers/decode/header.js';
import { requireDecodable } from '#vitserve/workers/decode/sniff.js';
import { WORK_LIMITS } from '#vitserve/workers/decode/work-limits.js';
import {
  arithmeticScan,
  arithmeticScans,
  emptyScan,
  frame,
  honestScans,
  huffmanScans,
  jpegOf,
  scan,
  segment,
} from '../../../support/costly-jpegs.js';
import {
  chunk,
  emptyChunks,
  endlessData,
  pngOf,
  unfoldingTexts,
} from '../../../support/costly-pngs.js';
import { firstOfMany, manyChunks, manyFrames } from '../../../support/costly-webps.js';
import { gradient, noise } from './drawing.js';

const MAX_PIXELS = 1_000_000;
const decoder = createImageDecoder({ maxImagePixels: MAX_PIXELS });

function bound(bytes: Buffer, maxImagePixels = MAX_PIXELS): Buffer {
  const format = requireDecodable(bytes);
  return boundWork(format, bytes, readHeader(format, bytes), maxImagePixels);
}

const passes = (bytes: Buffer, maxImagePixels?: number) =>
  assert.equal(bound(bytes, maxImagePixels), bytes);

function refuses(
  bytes: Buffer,
  message: RegExp,
  reason: Reason = 'IMAGE_TOO_LARGE',
  maxImagePixels?: number,
): void {
  assert.throws(
    () => bound(bytes, maxImagePixels),
    (error) => {
      assert.ok(error instanceof RequestError, String(error));
      assert.equal(error.reason, reason);
      assert.match(error.message, message);
      assert.ok(error.message.length < 200);
      return true;
    },
  );
}

const draw = (width: number, height: number) =>
  sharp(gradient(width, height), { raw: { width, height, channels: 3 } });

test('files of ordinary encoders stay unchanged', async () => {
  const rgba = sharp(noise(40 * 30 * 4), { raw: { width: 40, height: 30, channels: 4 } });
  const files = [
    draw(600, 400).jpeg(),
    draw(600, 400).jpeg({ progressive: true, chromaSubsampling: '4:4:4' }),
    draw(600, 400).jpeg({ mozjpeg: true, chromaSubsampling: '4:4:4' }),
    draw(600, 400).toColourspace('cmyk').jpeg({ progressive: true }),
    draw(600, 400).withIccProfile('srgb').withMetadata({ orientation: 6 }).jpeg(),
    draw(600, 400).png(),
    draw(600, 400)
      .withIccProfile('srgb')
      .withMetadata({ orientation: 6 })
      .png({ progressive: true }),
    rgba.clone().png({ palette: true }),
    draw(600, 400).webp(),
    rgba.clone().webp({ lossless: true }),
    sharp(noise(30 * 90 * 3), { raw: { width: 30, height: 90, channels: 3, pageHeight: 30 } }).webp(
      {
        delay: [1, 2, 3],
      },
    ),
  ];
  for (const file of files) passes(await file.toBuffer());
});

describe('a JPEG', () => {
  test('may have the scans of a progressive file of its size, from any encoder', () => {
    // Sixteen scans of one component each, and the first of all three.
    passes(honestScans(1_000, 1_000, 16));
    passes(honestScans(7_070, 7_070, 16), 50_000_000);
    passes(huffmanScans(100, 100, WORK_LIMITS.jpegScans));
  });

  test('is rejected beyond that, with its scans and the limit', () => {
    refuses(
      huffmanScans(100, 100, 101),
      /has 101 scans; the limit for its pixels and bytes is 100: save it again as a baseline JPEG$/,
    );
    refuses(
      huffmanScans(1_000, 1_000, 883),
      /has 883 scans; the limit for its pixels and bytes is 2\d:/,
    );
    refuses(
      arithmeticScans(1_000, 1_000),
      /has 45 scans with arithmetic coding; the limit for its pixels and bytes is \d:/,
    );
    refuses(huffmanScans(1_000, 1_000, 60), /has 60 scans/);
  });

  test('is rejected if its bytes do not pay for it', () => {
    const [few, more] = [huffmanScans(2_000, 2_000, 60), huffmanScans(2_000, 2_000, 9)];
    passes(more, 50_000_000);
    refuses(
      few,
      /60 scans; the limit for its pixels and bytes is \d+:/,
      'IMAGE_TOO_LARGE',
      50_000_000,
    );
    passes(Buffer.concat([few, Buffer.alloc(100_000)]), 50_000_000);
    passes(arithmeticScan(1_000, 1_000), 50_000_000);
    refuses(arithmeticScan(3_000, 3_000), /1 scan with arithmetic/, 'IMAGE_TOO_LARGE', 50_000_000);
    passes(Buffer.concat([arithmeticScan(3_000, 3_000), Buffer.alloc(100_000)]), 50_000_000);
  });

  test('counts as cut off if it has fewer bits than blocks', () => {
    passes(emptyScan(1_000, 1_000));
    refuses(
      emptyScan(3_000, 3_000),
      /can't be decoded: \d+ bytes are too few for 3000 × 3000 pixels/,
      'IMAGE_UNDECODABLE',
    );
  });

  test('has its scans counted whatever lies between them', () => {
    const scans = (between: Buffer) =>
      jpegOf(
        frame('progressive', 64, 64, [0x11]),
        ...Array.from({ length: 150 }, () => [scan([1], [1, 63], 0), between]).flat(),
      );
    const odd = {
      'stray bytes': Buffer.from([1, 2, 3]),
      'fill bytes': Buffer.from([0xff, 0xff, 0xff]),
      'a stuffed zero': Buffer.from([0xff, 0]),
      'a restart marker': Buffer.from([0xff, 0xd3]),
      'a marker without a length': Buffer.from([0xff, 0x02, 0xff, 0xf5]),
      'another frame': frame('baseline', 1, 1, [0x11]),
      'a table': segment(0xc4, Buffer.alloc(17)),
      'a segment without a length': Buffer.from([0xff, 0xe0, 0, 0]),
    };
    for (const [what, between] of Object.entries(odd)) {
      assert.throws(() => bound(scans(between)), /150 scans/, what);
    }
  });

  test('of one scan with everything is not read further', () => {
    const data = Buffer.concat(Array.from({ length: 300 }, () => scan([1], [0, 63], 0)));
    passes(jpegOf(frame('baseline', 64, 64, [0x11]), scan([1], [0, 63], 0), data));
  });

  test('of one component a scan, over and over, is rejected even if it is not progressive', () => {
    const again = Array.from({ length: 150 }, (_, at) => scan([1 + (at % 3)], [0, 63], 0));
    for (const kind of ['baseline', 'arithmetic'] as const) {
      refuses(jpegOf(frame(kind, 64, 64, [0x11, 0x11, 0x11]), ...again), /150 scans/);
    }
  });

  test('of very many segments is rejected', () => {
    const comments = Buffer.concat(
      Array.from({ length: WORK_LIMITS.jpegSegments + 1 }, () => segment(0xfe, Buffer.alloc(0))),
    );
    refuses(
      jpegOf(comments, frame('baseline', 8, 8, [0x11]), scan([1], [0, 63], 0)),
      /more than 4096 segments/,
    );
  });

  test('that is cut off anywhere passes this check', async () => {
    const file = await draw(64, 64).jpeg({ progressive: true }).toBuffer();
    for (let length = 3; length < file.length; length += 7) passes(file.subarray(0, length));
  });
});

describe('a PNG', () => {
  const picture = { width: 8, height: 8 };

  test('loses long or many texts and profiles, and decodes to the same pixels', async () => {
    const { pixels } = await decoder.decode(pngOf(picture));
    const orientation = Buffer.from('49492a0008000000010012010300010000000600000000000000', 'hex');
    for (const file of [
      unfoldingTexts(20),
      emptyChunks(10_000),
      pngOf({
        ...picture,
        extra: [chunk('iCCP', Buffer.alloc(100_000)), chunk('eXIf', orientation)],
      }),
    ]) {
      const lean = bound(file);
      assert.ok(lean.length < 300, `${lean.length} bytes`);
      assert.deepEqual((await decoder.decode(file)).pixels, pixels);
    }
    assert.ok(
      bound(
        pngOf({
          ...picture,
          extra: [chunk('iCCP', Buffer.alloc(100_000)), chunk('eXIf', orientation)],
        }),
      ).includes('eXIf'),
    );
  });

  test('keeps its transparency, its palette, and everything else critical', () => {
    const extra = [
      chunk('tEXt', Buffer.alloc(100_000)),
      chunk('tRNS', Buffer.of(1)),
      chunk('CgBI', Buffer.alloc(4)),
    ];
    const lean = bound(pngOf({ ...picture, colour: 3, extra }));
    for (const type of ['PLTE', 'tRNS', 'CgBI', 'IDAT', 'IEND'])
      assert.ok(lean.includes(type), type);
    assert.ok(!lean.includes('tEXt'));
  });

  test('keeps its damage, and all behind it, for libpng to find', () => {
    const whole = pngOf({
      ...picture,
      extra: [chunk('tEXt', Buffer.alloc(100_000)), chunk('tEXt', Buffer.alloc(50))],
    });
    const cut = whole.subarray(0, whole.length - 20);
    assert.deepEqual(bound(cut).subarray(-15), cut.subarray(-15));
  });

  test('of very many chunks is rejected', () => {
    refuses(emptyChunks(WORK_LIMITS.pngChunks), /more than 65536 chunks: save it again/);
  });

  test('whose image data are longer than its rows is rejected', () => {
    refuses(
      endlessData(100_000_000),
      /can't be decoded: \d+ bytes of image data, which is more than 8 × 8 pixels have/,
      'IMAGE_UNDECODABLE',
    );
    for (const interlaced of [false, true]) {
      for (const [depth, colour] of [
        [1, 0],
        [16, 6],
        [8, 3],
      ] as const) {
        passes(pngOf({ width: 601, height: 401, depth, colour, interlaced }));
      }
    }
  });
});

describe('a WebP', () => {
  test('of very many frames keeps its first, and decodes to the same pixels', async () => {
    const picture = await draw(40, 30).webp({ lossless: true }).toBuffer();
    const few = firstOfMany(picture, 40, 30, 5);
    passes(few);
    const many = firstOfMany(picture, 40, 30, 5_000);
    assert.ok(bound(many).length < few.length);
    const [expected, found] = [await decoder.decode(few), await decoder.decode(many)];
    // Each valid until the next image.
    assert.deepEqual(Buffer.from(found.pixels), Buffer.from(expected.pixels));
    assert.deepEqual([found.width, found.height], [40, 30]);
    assert.deepEqual(
      Buffer.from((await decoder.decode(picture)).pixels),
      Buffer.from(found.pixels),
    );
  });

  test('of very many frames that is damaged or cut off is rejected, like one of few', async () => {
    const many = manyFrames(5_000);
    const overlong = Buffer.from(many);
    overlong.writeUInt32LE(100, many.length - 42);
    for (const file of [many.subarray(0, -1), overlong]) {
      refuses(file, /an animation of \d+ frames that is damaged or cut off/, 'IMAGE_UNDECODABLE');
    }
    await assert.rejects(decoder.decode(manyFrames(5).subarray(0, -1)), /can't be decoded/);
  });

  test('of very many other chunks is rejected', () => {
    refuses(manyChunks(5_000), /more than 4096 chunks/);
    passes(manyChunks(100));
  });
});
