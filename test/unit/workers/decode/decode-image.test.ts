import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { type Reason, RequestError } from '#vitserve/errors.js';
import { cleanDetail, createImageDecoder } from '#vitserve/workers/decode/decode-image.js';
import { fromBase64, readGolden } from '../../../golden/golden.js';
import { gradient, noise } from './drawing.js';

interface DecodeCase {
  name: string;
  file: string;
  width: number;
  height: number;
  pixels: string;
  refused?: string;
}

const decoder = createImageDecoder({ maxImagePixels: 1_000_000 });

function refuses(reason: Reason, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof RequestError, String(error));
    assert.equal(error.reason, reason, error.message);
    assert.match(error.message, message);
    return true;
  };
}

for (const golden of readGolden<DecodeCase>('decode.json')) {
  const result = golden.refused === undefined ? 'the pixels of Pillow' : 'rejected, as by Pillow';
  test(`${golden.name}: ${result}`, async () => {
    const file = fromBase64(golden.file);
    if (golden.refused !== undefined) {
      await assert.rejects(
        decoder.decode(file),
        refuses('IMAGE_UNDECODABLE', /image can't be decoded: ./),
      );
      return;
    }
    const { pixels, width, height } = await decoder.decode(file);
    assert.deepEqual([width, height], [golden.width, golden.height]);
    assert.deepEqual(Buffer.from(pixels), fromBase64(golden.pixels));
  });
}

test('lossless files give back the pixels they were made from', async () => {
  const drawn = sharp(noise(31 * 17 * 3), { raw: { width: 31, height: 17, channels: 3 } });
  for (const file of [
    await drawn.clone().png().toBuffer(),
    await drawn.clone().png({ progressive: true }).toBuffer(),
    await drawn.clone().webp({ lossless: true }).toBuffer(),
  ]) {
    const { pixels, width, height } = await decoder.decode(file);
    assert.deepEqual([width, height], [31, 17]);
    assert.deepEqual(Buffer.from(pixels), Buffer.from(noise(31 * 17 * 3)));
  }
});

test('the format is reported', async () => {
  const drawn = sharp(gradient(8, 8), { raw: { width: 8, height: 8, channels: 3 } });
  for (const format of ['jpeg', 'png', 'webp'] as const) {
    assert.equal(
      (await decoder.decode(await drawn.clone().toFormat(format).toBuffer())).format,
      format,
    );
  }
});

test('a picture above the pixel limit is rejected, one at the limit is decoded', async () => {
  const small = createImageDecoder({ maxImagePixels: 600 });
  const draw = (width: number, height: number) =>
    sharp(gradient(width, height), { raw: { width, height, channels: 3 } });
  for (const format of ['jpeg', 'png', 'webp'] as const) {
    const { width } = await small.decode(await draw(30, 20).toFormat(format).toBuffer());
    assert.equal(width, 30);
    const tooLarge = await draw(601, 1).toFormat(format).toBuffer();
    await assert.rejects(small.decode(tooLarge), refuses('IMAGE_TOO_LARGE', /601 × 1 pixels.*600/));
  }
});

/**
 * A PNG that claims a size and has no pixels: a rejection by its header comes before the missing
 * data matter.
 */
function pngOfSize(width: number, height: number): Buffer {
  const chunk = (name: string, data: Buffer): Buffer => {
    const named = Buffer.concat([Buffer.from(name), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(named), 4);
    return Buffer.concat([frame.subarray(0, 4), named, frame.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', Buffer.alloc(0)),
  ]);
}

test('a size that can only be claimed is rejected by the header alone', async () => {
  await assert.rejects(
    decoder.decode(pngOfSize(60_000, 60_000)),
    refuses('IMAGE_TOO_LARGE', /60000 × 60000.*1000000/),
  );
  await assert.rejects(
    decoder.decode(pngOfSize(65_536, 1)),
    refuses('IMAGE_TOO_LARGE', /65536 × 1.*65535 pixels a side/),
  );
  await assert.rejects(
    decoder.decode(pngOfSize(65_535, 1)),
    refuses('IMAGE_UNDECODABLE', /PNG image can't be decoded/),
  );
});

test('no bytes, foreign bytes and later garbage are rejected, each with its reason', async () => {
  await assert.rejects(decoder.decode(Buffer.alloc(0)), refuses('IMAGE_EMPTY', /empty/));
  await assert.rejects(
    decoder.decode(Buffer.from('GIF89a...')),
    refuses('IMAGE_UNSUPPORTED', /GIF/),
  );
  for (const start of ['\xff\xd8\xff\xe0', '\x89PNG\r\n\x1a\n', 'RIFF\0\x01\0\0WEBPnone']) {
    const bytes = Buffer.concat([Buffer.from(start, 'latin1'), noise(400)]);
    await assert.rejects(
      decoder.decode(bytes),
      refuses('IMAGE_UNDECODABLE', /image can't be decoded: ./),
    );
  }
});

test('the loaders of other formats are unreachable in this process', async () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"/>');
  await assert.rejects(sharp(svg).raw().toBuffer(), /unsupported image format/);
});

test("the decoder's text about a file is short: one line, no repetitions, no paths", () => {
  assert.equal(
    cleanDetail(
      'Input buffer has corrupt header: VipsJpeg: premature end\nVipsJpeg: premature end',
    ),
    'premature end',
  );
  assert.equal(cleanDetail('vipspng: libpng read error'), 'libpng read error');
  assert.equal(cleanDetail('open /usr/lib/x.so: bad\u0007\tthing'), 'open …: bad thing');
  assert.equal(cleanDetail(''), 'the file is damaged');
  const long = cleanDetail('é'.repeat(500));
  assert.ok(Buffer.byteLength(long) <= 300 && long.length >= 149 && !long.includes('\ufffd'));
});
