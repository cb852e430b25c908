/**
 * libturbojpeg beside sharp: the same pixels, the same rejections, nothing left over from one file
 * to the next.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { RequestError } from '#vitserve/errors.js';
import type { Recipe } from '#vitserve/models/recipe.js';
import { createImageDecoder } from '#vitserve/workers/decode/decode-image.js';
import { createPassMemory, RETAINED_BYTES } from '#vitserve/workers/decode/passes.js';
import { createPixelPreparer } from '#vitserve/workers/decode/prepare-pixels.js';
import { createResampler } from '#vitserve/workers/decode/resample.js';
import {
  bindTurboJpeg,
  LIBRARY_HASHES,
  loadTurboJpeg,
} from '#vitserve/workers/decode/turbojpeg-library.js';
import { REPOSITORY } from '../../../golden/golden.js';
import { gradient, noise } from './drawing.js';

const PREBUILDS = fileURLToPath(
  new URL('node_modules/@julusian/jpeg-turbo/prebuilds/', REPOSITORY),
);
const loaded = loadTurboJpeg();
const missing = 'why' in loaded ? loaded.why : false;

const draw = (width: number, height: number) =>
  sharp(gradient(width, height), { raw: { width, height, channels: 3 } });

describe('the library file', () => {
  for (const [folder, hash] of Object.entries(LIBRARY_HASHES)) {
    const path = join(PREBUILDS, folder, 'libturbojpeg.so.0');
    test(`${folder} is the known one`, {
      skip: !existsSync(path) && 'it is not installed',
    }, () => {
      assert.equal(createHash('sha256').update(readFileSync(path)).digest('hex'), hash);
    });
  }

  test('another one is not loaded, and the error says what is wrong with it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
    try {
      const path = join(folder, 'libturbojpeg.so.0');
      const hash = LIBRARY_HASHES['jpeg-turbo-linux-x64'] as string;
      assert.match(JSON.stringify(bindTurboJpeg(path, hash)), /can't be loaded.*ENOENT/);
      writeFileSync(path, 'not that library');
      assert.match(
        JSON.stringify(bindTurboJpeg(path, hash)),
        /not the known one: its SHA-256 is [0-9a-f]{64}.*"expected":false/,
      );
      const own = createHash('sha256').update('not that library').digest('hex');
      assert.match(JSON.stringify(bindTurboJpeg(path, own)), /the file can't be loaded/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('without one, sharp decodes and the reason is given', async () => {
    const absent = { why: 'it was left at home', expected: true };
    const decoder = createImageDecoder({ maxImagePixels: 1000, load: () => absent });
    assert.equal(decoder.jpegDecoder, 'sharp');
    assert.deepEqual(decoder.jpegFallback, absent);
    assert.equal((await decoder.decode(await draw(8, 8).jpeg().toBuffer())).decoder, 'sharp');
  });

  test('is not searched for if it is not wanted', () => {
    const load = () => assert.fail('it was looked for');
    const decoder = createImageDecoder({ maxImagePixels: 1000, jpegDecoder: 'sharp', load });
    assert.deepEqual([decoder.jpegDecoder, decoder.jpegFallback], ['sharp', null]);
  });
});

describe('libturbojpeg', { skip: missing }, () => {
  const fast = createImageDecoder({ maxImagePixels: 1_000_000 });
  const plain = createImageDecoder({ maxImagePixels: 1_000_000, jpegDecoder: 'sharp' });

  /** The fast decoder's result; its pixels are those of sharp. */
  async function decodeLikeSharp(file: Buffer): Promise<string> {
    const expected = await plain.decode(file);
    const { pixels, width, height, decoder } = await fast.decode(file);
    assert.deepEqual([width, height], [expected.width, expected.height]);
    assert.ok(Buffer.from(pixels).equals(expected.pixels));
    return decoder;
  }

  test('decodes ordinary files to the pixels of sharp, whatever their orientation', async () => {
    for (const [width, height] of [
      [1, 1],
      [67, 130],
      [200, 33],
    ] as const) {
      for (const options of [
        {},
        { progressive: true },
        { chromaSubsampling: '4:4:4', quality: 97 },
      ]) {
        for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8]) {
          const file = await draw(width, height)
            .withMetadata({ orientation })
            .jpeg(options)
            .toBuffer();
          assert.equal(
            await decodeLikeSharp(file),
            'turbojpeg',
            `${width} × ${height}, orientation ${orientation}`,
          );
        }
      }
      assert.equal(
        await decodeLikeSharp(await draw(width, height).greyscale().jpeg().toBuffer()),
        'turbojpeg',
      );
    }
  });

  test('leaves CMYK, PNG and WebP to sharp', async () => {
    assert.equal(
      await decodeLikeSharp(await draw(20, 10).toColourspace('cmyk').jpeg().toBuffer()),
      'sharp',
    );
    for (const format of ['png', 'webp'] as const) {
      assert.equal(
        (await fast.decode(await draw(9, 9).toFormat(format).toBuffer())).decoder,
        'sharp',
      );
    }
  });

  test('leaves files it would warn about to sharp, and works normally afterwards', async () => {
    const file = await draw(64, 64).jpeg().toBuffer();
    // A marker that ends the image data too early, about which libjpeg warns.
    const withMarker = Buffer.concat([
      file.subarray(0, -30),
      Buffer.of(0xff, 0xd0),
      file.subarray(-30),
    ]);
    assert.equal(await decodeLikeSharp(withMarker), 'sharp');
    assert.equal(await decodeLikeSharp(file), 'turbojpeg');
    const impossible = Buffer.from(file);
    impossible[file.indexOf(Buffer.of(0xff, 0xc0)) + 11] = 0x55;
    await assert.rejects(fast.decode(impossible), RequestError);
    assert.equal(await decodeLikeSharp(file), 'turbojpeg');
  });

  test('never decodes a file with the tables of the previous one', async () => {
    const file = await draw(64, 64).jpeg({ quality: 30 }).toBuffer();
    const at = file.indexOf(Buffer.of(0xff, 0xdb));
    const withoutTable = Buffer.concat([
      file.subarray(0, at),
      file.subarray(at + 2 + file.readUInt16BE(at + 2)),
    ]);
    await fast.decode(file);
    for (const decoder of [fast, plain]) {
      await assert.rejects(decoder.decode(withoutTable), { reason: 'IMAGE_UNDECODABLE' });
    }
  });

  test('truncated files are rejected in the words of sharp, wherever they end', async () => {
    for (const progressive of [false, true]) {
      const file = await draw(40, 30).jpeg({ progressive }).toBuffer();
      for (let end = 3; end < file.length; end += 7) {
        const part = file.subarray(0, end);
        const refusal = await plain.decode(part).catch((error: unknown) => error);
        assert.ok(refusal instanceof RequestError, `${end} of ${file.length} bytes`);
        await assert.rejects(fast.decode(part), {
          reason: refusal.reason,
          message: refusal.message,
        });
      }
    }
  });

  test('a picture above the pixel limit is rejected by its header', async () => {
    const small = createImageDecoder({ maxImagePixels: 600 });
    assert.equal((await small.decode(await draw(30, 20).jpeg().toBuffer())).decoder, 'turbojpeg');
    const tooLarge = await draw(601, 1).jpeg().toBuffer();
    await assert.rejects(small.decode(tooLarge), {
      reason: 'IMAGE_TOO_LARGE',
      message: /601 × 1 pixels.*600/,
    });
  });

  test('a progressive file at the pixel limit has the memory that it needs', async () => {
    const pixels = 3000 * 1000;
    const decoder = createImageDecoder({ maxImagePixels: pixels });
    const drawn = sharp(noise(pixels * 3), { raw: { width: 3000, height: 1000, channels: 3 } });
    const file = await drawn.jpeg({ progressive: true, chromaSubsampling: '4:4:4' }).toBuffer();
    assert.equal((await decoder.decode(file)).decoder, 'turbojpeg');
  });

  test('more scans than the limit are left to sharp, which rejects them', async () => {
    const file = await draw(16, 16).jpeg({ progressive: true }).toBuffer();
    const scan = file.indexOf(Buffer.of(0xff, 0xda));
    const end = file.indexOf(Buffer.of(0xff, 0xda), scan + 2);
    const scans = Buffer.concat(
      Array<Buffer>(150).fill(file.subarray(scan, end > 0 ? end : file.length - 2)),
    );
    const bomb = Buffer.concat([file.subarray(0, scan), scans, file.subarray(-2)]);
    const outcome = async (decoder: typeof fast) =>
      decoder.decode(bomb).then(
        (decoded) => decoded.decoder,
        (error: unknown) => (error instanceof RequestError ? error.reason : String(error)),
      );
    assert.equal(await outcome(fast), await outcome(plain));
  });

  test('memory is given back after a large picture, and the next one is right', async () => {
    const memory = createPassMemory();
    const decoder = createImageDecoder({ maxImagePixels: 50_000_000, memory });
    const resampler = createResampler(memory);
    const geometry = {
      resizedWidth: 8,
      resizedHeight: 8,
      cropLeft: 0,
      cropTop: 0,
      outputWidth: 8,
      outputHeight: 8,
    };
    const target = Buffer.alloc(8 * 8 * 3);
    const usual = await draw(100, 80).jpeg().toBuffer();
    resampler.resample(await decoder.decode(usual), geometry, 'bilinear', target);
    const before = Buffer.from(target);

    const large = await draw(3000, 2500).withMetadata({ orientation: 6 }).jpeg().toBuffer();
    for (const interpolation of ['bilinear', 'nearest'] as const) {
      const picture = await decoder.decode(large);
      assert.deepEqual([picture.width, picture.height, picture.decoder], [2500, 3000, 'turbojpeg']);
      assert.ok(memory.size() > 3000 * 2500 * 3 * 2);
      resampler.resample(picture, geometry, interpolation, target);
      assert.ok(memory.size() <= RETAINED_BYTES, `${memory.size()} bytes are held`);
    }
    await assert.rejects(decoder.decode(large.subarray(0, large.length - 5000)), {
      reason: 'IMAGE_UNDECODABLE',
    });
    assert.ok(memory.size() <= RETAINED_BYTES, `${memory.size()} bytes are held`);

    resampler.resample(await decoder.decode(usual), geometry, 'bilinear', target);
    assert.deepEqual(target, before);
  });

  test('a picture in the memory of the passes is resized like one outside', async () => {
    const normalization = {
      rescale: 1,
      mean: [0, 0, 0],
      std: [1, 1, 1],
      normalizedInGraph: true,
    } as const;
    const recipes: Recipe[] = [
      {
        resize: { mode: 'squash', height: 30, width: 40 },
        interpolation: 'bicubic',
        crop: null,
        ...normalization,
      },
      {
        resize: { mode: 'squash', height: 30, width: 60 },
        interpolation: 'lanczos',
        crop: null,
        ...normalization,
      },
      {
        resize: { mode: 'squash', height: 700, width: 40 },
        interpolation: 'bilinear',
        crop: null,
        ...normalization,
      },
      {
        resize: null,
        interpolation: 'box',
        crop: { height: 30, width: 31, rounding: 'floor' },
        ...normalization,
      },
      {
        resize: { mode: 'squash', height: 9, width: 9 },
        interpolation: 'nearest',
        crop: null,
        ...normalization,
      },
    ];
    const sizes = [
      [60, 45],
      [40, 30],
      // So tall that Pillow goes vertically first; so wide that memory grows beyond the first page.
      [3, 700],
      [900, 700],
    ] as const;
    for (const recipe of recipes) {
      const { height = 0, width = 0 } =
        recipe.resize?.mode === 'squash' ? recipe.resize : (recipe.crop ?? {});
      const targets = (['auto', 'sharp'] as const).map((jpegDecoder) => ({
        preparer: createPixelPreparer({
          maxImagePixels: 1_000_000,
          jpegDecoder,
          recipe,
          height,
          width,
        }),
        pixels: Buffer.alloc(height * width * 3),
      }));
      for (const [sourceWidth, sourceHeight] of sizes) {
        const file = await draw(sourceWidth, sourceHeight).jpeg().toBuffer();
        for (const { preparer, pixels } of targets) await preparer.prepare(file, pixels);
        const [inside, outside] = targets;
        assert.ok(
          inside && outside && inside.pixels.equals(outside.pixels),
          `${sourceWidth} × ${sourceHeight}`,
        );
      }
    }
  });
});
