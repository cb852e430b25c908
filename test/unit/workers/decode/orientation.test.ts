/**
 * Which way up a picture is displayed, compared with Pillow 12's answers for the same files
 * (`test/golden/orientation.json`).
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { createImageDecoder } from '#vitserve/workers/decode/decode-image.js';
import { readOrientation } from '#vitserve/workers/decode/orientation.js';
import { readGolden } from '../../../golden/golden.js';
import { type OrientationFile, orientationFiles } from '../../../support/orientation-files.js';

/** For files whose metadata Pillow can't read and rejects, but which can be decoded: as stored. */
const AS_STORED = 1;

describe('orientation', () => {
  let files: OrientationFile[];
  const golden = readGolden<{ name: string; orientation: number | null }>('orientation.json');

  before(async () => {
    files = await orientationFiles();
  });

  test('is that of Pillow for every file', (t) => {
    const names = golden.map(({ name }) => name);
    assert.deepEqual(
      files.map(({ name }) => name),
      names,
      'test/golden/make_orientation.py has to be run',
    );
    const here = files.map(({ name, format, bytes }) => ({
      name,
      orientation: readOrientation(format, bytes),
    }));
    const refused = golden.filter(({ orientation }) => orientation === null).length;
    t.diagnostic(`${files.length} files, ${refused} of them refused by Pillow`);
    assert.deepEqual(
      here,
      golden.map(({ name, orientation }) => ({ name, orientation: orientation ?? AS_STORED })),
    );
  });

  test('never throws, wherever a file ends and whichever byte is wrong', () => {
    const some = files.filter((_, index) => index % 30 === 0);
    for (const { format, bytes } of some) {
      for (let end = 0; end <= bytes.length; end++) readOrientation(format, bytes.subarray(0, end));
      const copy = Buffer.from(bytes);
      for (let at = 0; at < copy.length; at++) {
        for (const wrong of [0, 0x7f, 0xff]) {
          copy[at] = wrong;
          readOrientation(format, copy);
        }
        copy[at] = bytes[at] as number;
      }
    }
  });

  for (const jpegDecoder of ['auto', 'sharp'] as const)
    test(`each one turns the pixels, ${jpegDecoder}`, async () => {
      const { decode } = createImageDecoder({ maxImagePixels: 1000, jpegDecoder });
      for (const format of ['jpeg', 'png', 'webp'] as const) {
        const shown = new Map<number, Awaited<ReturnType<typeof decode>>>();
        for (let value = 1; value <= 8; value++) {
          const name = `${format}: II value ${value}${format === 'png' ? ', eXIf before' : ''}`;
          const file = files.find((candidate) => candidate.name === name);
          assert.ok(file, name);
          const picture = await decode(file.bytes);
          shown.set(value, { ...picture, pixels: Buffer.from(picture.pixels) });
        }
        const stored = shown.get(1);
        assert.ok(stored);
        for (const [value, { pixels, width, height }] of shown) {
          assert.deepEqual(
            [width, height],
            value < 5 ? [stored.width, stored.height] : [stored.height, stored.width],
          );
          assert.deepEqual(pixels, turned(stored, value), `${format}, ${value}`);
        }
      }
    });

  test('a text that inflates beyond a mebibyte is not read, nor one after many others', () => {
    const plain =
      files.find(({ name }) => name === 'png: II value 1, eXIf before')?.bytes ?? assert.fail();
    const [upToPixels, pixels] = [plain.subarray(0, 33), plain.subarray(plain.indexOf('IDAT') - 4)];
    const orientationOf = (...chunks: Buffer[]) =>
      readOrientation('png', Buffer.concat([upToPixels, ...chunks, pixels]));
    const sound = packed(rawProfile(''));
    assert.equal(orientationOf(sound), 6);
    assert.equal(orientationOf(packed(rawProfile(' '.repeat(1 << 20)))), AS_STORED);
    const bomb = packed(Buffer.alloc(1 << 24));
    assert.equal(orientationOf(bomb, sound), 6);
    assert.equal(orientationOf(...Array<Buffer>(100).fill(bomb), sound), AS_STORED);
  });
});

/** A text that says 6, with something in front of its digits. */
function rawProfile(padding: string): Buffer {
  return Buffer.from(`\nexif\n26\n${padding}49492a0008000000010012010300010000000600000000000000`);
}

/** The picture as EXIF displays it: row by row, where each pixel comes from. */
function turned(
  { pixels, width, height }: { pixels: Uint8Array; width: number; height: number },
  orientation: number,
) {
  const exchanged = orientation > 4;
  const [shownWidth, shownHeight] = exchanged ? [height, width] : [width, height];
  const result = Buffer.alloc(pixels.length);
  for (let y = 0, to = 0; y < shownHeight; y++) {
    for (let x = 0; x < shownWidth; x++, to += 3) {
      const [across, down] = exchanged ? [y, x] : [x, y];
      const column = [2, 3, 7, 8].includes(orientation) ? width - 1 - across : across;
      const row = [3, 4, 6, 7].includes(orientation) ? height - 1 - down : down;
      result.set(pixels.subarray((row * width + column) * 3, (row * width + column) * 3 + 3), to);
    }
  }
  return result;
}

/** A `zTXt` chunk for EXIF; its checksum is not checked. */
function packed(text: Buffer): Buffer {
  const content = Buffer.concat([Buffer.from('Raw profile type exif\0\0'), deflateSync(text)]);
  const header = Buffer.alloc(8);
  header.writeUInt32BE(content.length, 0);
  header.write('zTXt', 4);
  return Buffer.concat([header, content, Buffer.alloc(4)]);
}
