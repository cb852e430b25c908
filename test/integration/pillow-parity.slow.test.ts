/**
 * Pixels compared with Pillow 12 itself, byte by byte: drawn images always, and photos and odd
 * files if there is a folder of them (../shared/data beside the repository); with libturbojpeg if
 * it can be loaded, and with sharp alone. Needs a Python with Pillow 12: tools/.venv, or python3 on
 * the path. Skips parts whose inputs are missing, and says so.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { RequestError } from '#vitserve/errors.js';
import { type Interpolation, outputSize, type Recipe } from '#vitserve/models/recipe.js';
import {
  createImageDecoder,
  type JpegDecoderChoice,
} from '#vitserve/workers/decode/decode-image.js';
import { createPixelDecoder } from '#vitserve/workers/decode/prepare-pixels.js';
import { REPOSITORY } from '../golden/golden.js';
import { drawJpegs, mutate } from '../support/jpeg-mutations.js';
import { mutateFiles } from '../support/mutations.js';
import { damageMetadata, orientationFiles } from '../support/orientation-files.js';
import { PNG } from '../support/png-mutations.js';
import { WEBP } from '../support/webp-mutations.js';
import { gradient, noise } from '../unit/workers/decode/drawing.js';

const MAX_IMAGE_PIXELS = 50_000_000;
const DAMAGED = Number(process.env.VITSERVE_TEST_MUTATIONS ?? 400);
const BASE = {
  rescale: 1 / 255,
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  normalizedInGraph: true,
} as const;

const square = (size: number, rounding: 'floor' | 'half-even') => ({
  height: size,
  width: size,
  rounding,
});
const squash = (size: number) => ({ mode: 'squash' as const, height: size, width: size });
const shortest = (size: number) => ({ mode: 'shortest-edge' as const, size });

const RECIPES: Record<string, Recipe> = {
  'Hugging Face ViT': { ...BASE, resize: squash(224), interpolation: 'bilinear', crop: null },
  'Hugging Face DeiT': {
    ...BASE,
    resize: squash(256),
    interpolation: 'bicubic',
    crop: square(224, 'floor'),
  },
  timm: {
    ...BASE,
    resize: shortest(248),
    interpolation: 'bicubic',
    crop: square(224, 'half-even'),
  },
  torchvision: {
    ...BASE,
    resize: shortest(256),
    interpolation: 'bilinear',
    crop: square(224, 'half-even'),
  },
  'torchvision SWAG': {
    ...BASE,
    resize: shortest(384),
    interpolation: 'bicubic',
    crop: square(384, 'half-even'),
  },
};

const EXTRA_RECIPES: Record<string, Recipe> = Object.fromEntries([
  ...(['nearest', 'box', 'hamming', 'lanczos'] as const satisfies Interpolation[]).map(
    (interpolation) => [
      interpolation,
      {
        ...BASE,
        resize: shortest(97),
        interpolation,
        crop: { height: 96, width: 95, rounding: 'floor' },
      },
    ],
  ),
  [
    'padded as by Hugging Face',
    { ...BASE, resize: shortest(50), interpolation: 'bicubic', crop: square(81, 'floor') },
  ],
  [
    'padded as by torchvision',
    { ...BASE, resize: null, interpolation: 'bicubic', crop: square(81, 'half-even') },
  ],
]);

interface Verdict {
  pixels?: string[];
  width: number;
  height: number;
  refused?: string;
}

/** A Python with Pillow 12, or why there is none. */
function findPython(): { python: string } | { missing: string } {
  const own = fileURLToPath(new URL('tools/.venv/bin/python', REPOSITORY));
  for (const python of [own, 'python3']) {
    const found = spawnSync(python, ['-c', 'import PIL; print(PIL.__version__)'], {
      encoding: 'utf8',
    });
    if (found.status === 0 && found.stdout.startsWith('12.')) return { python };
  }
  return {
    missing:
      'no Python with Pillow 12: make one in tools/.venv, or install "pillow<13" for python3',
  };
}

const found = findPython();

/** Both ways of decoding JPEG; `auto` only if it differs from `sharp`. */
const { jpegFallback } = createImageDecoder({ maxImagePixels: 1 });
const CHOICES: readonly JpegDecoderChoice[] = jpegFallback === null ? ['auto', 'sharp'] : ['sharp'];

/** Files under a folder beside the repository, or none. */
function files(folder: string): string[] {
  const root = new URL(`../shared/data/${folder}/`, REPOSITORY);
  if (!existsSync(root)) return [];
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`)
    .sort();
}

describe('pixels equal those of Pillow', {
  skip: 'missing' in found ? found.missing : false,
}, () => {
  let reference: ChildProcess;
  let lines: AsyncIterator<string>;

  const nextLine = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    assert.ok(!done, 'the reference ended');
    return JSON.parse(value as string);
  };
  const ask = (
    source: { path: string } | { file: string },
    recipes: (Recipe | null)[],
  ): Promise<Verdict> => {
    reference.stdin?.write(`${JSON.stringify({ ...source, recipes })}\n`);
    return nextLine() as Promise<Verdict>;
  };

  before(async () => {
    if ('missing' in found) return;
    const script = fileURLToPath(new URL('test/integration/pillow_reference.py', REPOSITORY));
    reference = spawn(found.python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    assert.ok(reference.stdout);
    lines = createInterface({ input: reference.stdout })[Symbol.asyncIterator]();
    await nextLine();
  });
  after(() => reference?.stdin?.end());

  test('libturbojpeg', { skip: jpegFallback?.why ?? false }, (t) => {
    t.diagnostic('JPEG is decoded with libturbojpeg, and again with sharp alone');
  });

  /**
   * Prepares every file by every recipe and decoder; returns counts of equal results, and the names
   * of the others.
   */
  async function compare(
    sources: [name: string, source: { path: string } | { file: string }][],
    recipes = RECIPES,
  ) {
    const preparers = Object.entries(recipes).flatMap(([name, recipe], at) => {
      const size = outputSize(recipe);
      assert.ok(size);
      return CHOICES.map((jpegDecoder) => {
        const decoder = createPixelDecoder({ maxImagePixels: MAX_IMAGE_PIXELS, jpegDecoder });
        const preparer = decoder.preparerFor({ recipe, ...size });
        const target = Buffer.alloc(size.width * size.height * 3);
        return { name: `${name} (${decoder.jpegDecoder})`, at, preparer, target, equal: 0 };
      });
    });
    const different: string[] = [];
    const decoders = new Map<string, number>();
    for (const [name, source] of sources) {
      const bytes =
        'path' in source ? readFileSync(source.path) : Buffer.from(source.file, 'base64');
      const { pixels, refused } = await ask(source, Object.values(recipes));
      assert.ok(pixels, `${name}: Pillow refused it: ${refused}`);
      for (const entry of preparers) {
        const { decoder } = await entry.preparer.prepare(bytes, entry.target);
        decoders.set(decoder, (decoders.get(decoder) ?? 0) + 1);
        if (entry.target.equals(Buffer.from(pixels[entry.at] ?? '', 'base64'))) entry.equal++;
        else different.push(`${name} by ${entry.name}`);
      }
    }
    const counts = preparers.map(
      ({ name, equal }) => `${name}: ${equal} of ${sources.length} bit-equal`,
    );
    return { counts, different, decoders };
  }

  test('drawn images, by every recipe', async (t) => {
    const sources: [string, { file: string }][] = [];
    for (const [width, height] of [
      [400, 300],
      [301, 447],
      [224, 224],
      [97, 50],
      [60, 61],
      [3, 4],
      [1, 1],
      [3, 320],
      [90, 2],
      [5, 510],
    ] as const) {
      const smooth = sharp(gradient(width, height), { raw: { width, height, channels: 3 } });
      const rough = sharp(noise(width * height * 4), { raw: { width, height, channels: 4 } });
      const drawn = {
        jpeg: smooth.clone().jpeg(),
        'jpeg 4:4:4': smooth.clone().jpeg({ chromaSubsampling: '4:4:4', quality: 95 }),
        'jpeg progressive': smooth.clone().jpeg({ progressive: true }),
        'jpeg grey': smooth.clone().greyscale().jpeg(),
        'png alpha': rough.clone().png(),
        'png interlaced palette': smooth.clone().png({ palette: true, progressive: true }),
        'webp lossless alpha': rough.clone().webp({ lossless: true, exact: true }),
        webp: smooth.clone().webp(),
      };
      for (const [name, image] of Object.entries(drawn)) {
        const file = (await image.toBuffer()).toString('base64');
        sources.push([`${name} ${width} × ${height}`, { file }]);
      }
    }
    const { counts, different } = await compare(sources, { ...RECIPES, ...EXTRA_RECIPES });
    for (const line of counts) t.diagnostic(line);
    assert.deepEqual(different, []);
  });

  const photos = files('photos');
  const noPhotos = photos.length === 0 && 'there is no ../shared/data/photos beside the repository';
  test('photos, by five published recipes', { skip: noPhotos }, async (t) => {
    const { counts, different, decoders } = await compare(photos.map((path) => [path, { path }]));
    for (const line of counts) t.diagnostic(line);
    assert.deepEqual(different, []);
    // Every one of these photos is an ordinary JPEG: none of them falls back to sharp.
    const runs = photos.length * Object.keys(RECIPES).length;
    assert.deepEqual(
      Object.fromEntries(decoders),
      Object.fromEntries(
        CHOICES.map((choice) => [choice === 'auto' ? 'turbojpeg' : 'sharp', runs]),
      ),
    );
  });

  test('damaged JPEG files: those that both accept are decoded alike', async (t) => {
    const decoders = CHOICES.map((jpegDecoder) => ({
      jpegDecoder,
      decode: createImageDecoder({ maxImagePixels: MAX_IMAGE_PIXELS, jpegDecoder }).decode,
      counts: {
        equal: 0,
        'refused by both': 0,
        'refused here only': 0,
        'refused by Pillow only': 0,
      },
    }));
    const different: string[] = [];
    for (const { name, bytes } of mutate(await drawJpegs(), DAMAGED, 3)) {
      const verdict = await ask({ file: bytes.toString('base64') }, [null]);
      for (const { jpegDecoder, decode, counts } of decoders) {
        const own = await decode(bytes).catch((error: unknown) => {
          assert.ok(error instanceof RequestError, `${name}: ${error}`);
          return null;
        });
        if (own === null)
          counts[verdict.pixels === undefined ? 'refused by both' : 'refused here only']++;
        else if (verdict.pixels === undefined) counts['refused by Pillow only']++;
        else if (Buffer.from(verdict.pixels[0] ?? '', 'base64').equals(own.pixels)) counts.equal++;
        else different.push(`${name}, ${jpegDecoder} (${own.decoder})`);
      }
    }
    for (const { jpegDecoder, counts } of decoders) {
      t.diagnostic(`${DAMAGED} files, ${jpegDecoder}: ${JSON.stringify(counts)}`);
    }
    assert.deepEqual(different, []);
  });

  for (const [format, mutations] of Object.entries({ PNG, WebP: WEBP }))
    test(`damaged ${format} files: those that both accept are decoded alike`, async (t) => {
      const { decode } = createImageDecoder({ maxImagePixels: MAX_IMAGE_PIXELS });
      const counts = {
        equal: 0,
        'refused by both': 0,
        'refused here only': 0,
        'refused by Pillow only': 0,
        'too large to ask': 0,
      };
      const different: string[] = [];
      const bases = await mutations.draw();
      for (const { name, bytes } of mutateFiles(bases, mutations, DAMAGED, 3)) {
        const own = await decode(bytes).catch((error: unknown) => {
          assert.ok(error instanceof RequestError, `${name}: ${error}`);
          return error;
        });
        if (own instanceof RequestError && own.reason === 'IMAGE_TOO_LARGE') {
          counts['too large to ask']++;
          continue;
        }
        const verdict = await ask({ file: bytes.toString('base64') }, [null]);
        if (own instanceof RequestError)
          counts[verdict.pixels === undefined ? 'refused by both' : 'refused here only']++;
        else if (verdict.pixels === undefined) counts['refused by Pillow only']++;
        else if (Buffer.from(verdict.pixels[0] ?? '', 'base64').equals(own.pixels)) counts.equal++;
        else different.push(name);
      }
      t.diagnostic(`${DAMAGED} files: ${JSON.stringify(counts)}`);
      assert.deepEqual(different, []);
      assert.ok(counts.equal > DAMAGED / 5);
    });

  test('odd and damaged metadata: files that both accept are turned alike', async (t) => {
    const decoders = CHOICES.map((jpegDecoder) => ({
      jpegDecoder,
      decode: createImageDecoder({ maxImagePixels: MAX_IMAGE_PIXELS, jpegDecoder }).decode,
      counts: {
        equal: 0,
        'refused by both': 0,
        'refused here only': 0,
        'refused by Pillow only': 0,
      },
    }));
    const different: string[] = [];
    const files = await orientationFiles();
    for (const { name, bytes } of [...files, ...damageMetadata(files, 5)]) {
      const verdict = await ask({ file: bytes.toString('base64') }, [null]);
      for (const { jpegDecoder, decode, counts } of decoders) {
        const own = await decode(bytes).catch((error: unknown) => {
          assert.ok(error instanceof RequestError, `${name}: ${error}`);
          return null;
        });
        if (own === null)
          counts[verdict.pixels === undefined ? 'refused by both' : 'refused here only']++;
        else if (verdict.pixels === undefined) counts['refused by Pillow only']++;
        else if (Buffer.from(verdict.pixels[0] ?? '', 'base64').equals(own.pixels)) counts.equal++;
        else different.push(`${name}, ${jpegDecoder}`);
      }
    }
    for (const { jpegDecoder, counts } of decoders)
      t.diagnostic(`${jpegDecoder}: ${JSON.stringify(counts)}`);
    assert.deepEqual(different, []);
  });

  const isBomb = (path: string): boolean => path.includes('/bombs/');
  const odd = files('odd').filter((path) => !isBomb(path));
  const noOdd = odd.length === 0 && 'there is no ../shared/data/odd beside the repository';
  for (const jpegDecoder of CHOICES)
    test(`odd files, ${jpegDecoder}: those that both accept are decoded alike`, {
      skip: noOdd,
    }, async (t) => {
      const decoder = createImageDecoder({ maxImagePixels: MAX_IMAGE_PIXELS, jpegDecoder });
      const counts = {
        equal: 0,
        'refused by both': 0,
        'refused here only': 0,
        'refused by Pillow only': 0,
      };
      let fast = 0;
      const different: string[] = [];
      for (const path of odd) {
        const verdict = await ask({ path }, [null]);
        const own = await decoder.decode(readFileSync(path)).catch((error: unknown) => {
          assert.ok(error instanceof RequestError, `${path}: ${error}`);
          return error;
        });
        if (!(own instanceof RequestError) && own.decoder === 'turbojpeg') fast++;
        if (own instanceof RequestError) {
          counts[verdict.refused === undefined ? 'refused here only' : 'refused by both']++;
          if (verdict.refused === undefined)
            t.diagnostic(`refused here only: ${path}: ${own.message}`);
        } else if (verdict.pixels === undefined) {
          counts['refused by Pillow only']++;
          t.diagnostic(`refused by Pillow only: ${path}: ${verdict.refused}`);
        } else if (Buffer.from(verdict.pixels[0] ?? '', 'base64').equals(own.pixels)) {
          counts.equal++;
        } else {
          different.push(path);
        }
      }
      t.diagnostic(
        `${odd.length} files: ${JSON.stringify(counts)}, ${fast} of them by libturbojpeg`,
      );
      for (const path of files('odd').filter(isBomb)) {
        await assert.rejects(
          decoder.decode(readFileSync(path)),
          { reason: 'IMAGE_TOO_LARGE' },
          path,
        );
      }
      assert.deepEqual(different, []);
    });
});
