/**
 * CPU time from a JPEG file to 224 × 224 pixels: vitserve's decoder against sharp's own pipeline and Pillow.
 *
 *   npm run build && node bench/decode.mjs [FOLDER] [ROUNDS]
 *
 * FOLDER holds JPEG photos (../shared/data/photos beside the repository where it is not given). Every contestant takes all
 * of them in turn, in two processes at the same time so that two cores are busy, ROUNDS (5) times over, one contestant after
 * the other within each round. Printed is the median over rounds and processes of the CPU time a photo (user and system, all
 * threads), and its ratio to vitserve's. Pillow runs where there is a Python with it: tools/.venv, or python3.
 */
import { fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SIDE = 224;
const COPIES = 2;
const OURS = { bilinear: 'vitserve, bilinear', bicubic: 'vitserve, bicubic' };

const PYTHON = `
import io, sys, time
from PIL import Image
photos = [open(path, 'rb').read() for path in sys.argv[1:]]
print('ready', flush=True)
for line in sys.stdin:
    kernel = Image.Resampling[line.strip().upper()]
    start = time.process_time()
    for photo in photos:
        Image.open(io.BytesIO(photo)).convert('RGB').resize((${SIDE}, ${SIDE}), kernel).tobytes()
    print((time.process_time() - start) * 1000 / len(photos), flush=True)
`;

function paths(folder) {
  return readdirSync(folder)
    .filter((name) => /\.jpe?g$/i.test(name))
    .sort()
    .map((name) => join(folder, name));
}

/** In a child: sharp as it is set up by itself. */
async function sharpAlone() {
  const { default: sharp } = await import('sharp');
  return {
    'sharp, its own pipeline': (photo) => sharp(photo).resize(SIDE, SIDE, { fit: 'fill' }).raw().toBuffer(),
  };
}

/** In a child: what a decoder process does. */
async function vitserve() {
  const { createPixelPreparer } = await import('../dist/decode/prepare-pixels.js');
  const target = new Uint8Array(SIDE * SIDE * 3);
  const prepare = (jpegDecoder, interpolation) => {
    const resize = { mode: 'squash', height: SIDE, width: SIDE };
    const recipe = { resize, interpolation, crop: null };
    const preparer = createPixelPreparer({ maxImagePixels: 5e7, jpegDecoder, recipe, height: SIDE, width: SIDE });
    if (jpegDecoder === 'auto' && preparer.jpegFallback !== null) throw new Error(preparer.jpegFallback.why);
    return (photo) => preparer.prepare(photo, target);
  };
  return {
    [OURS.bilinear]: prepare('auto', 'bilinear'),
    [OURS.bicubic]: prepare('auto', 'bicubic'),
    'vitserve with sharp, bilinear': prepare('sharp', 'bilinear'),
  };
}

/** In a child: answers each contestant's name with the CPU time that a photo took. */
async function contend(folder, contestants) {
  const photos = paths(folder).map((path) => readFileSync(path));
  process.on('message', async (name) => {
    const before = process.cpuUsage();
    for (const photo of photos) await contestants[name](photo);
    const { user, system } = process.cpuUsage(before);
    process.send((user + system) / 1000 / photos.length);
  });
  process.send(Object.keys(contestants));
}

/** Children that measure what they are asked to, all at the same time. */
async function nodeChildren(folder, program) {
  const children = Array.from({ length: COPIES }, () => fork(fileURLToPath(import.meta.url), [folder, program]));
  for (const child of children) {
    child.once('exit', (code) => {
      if (code !== 0) process.exit(1);
    });
  }
  const next = async (child) => (await once(child, 'message'))[0];
  const [names] = await Promise.all(children.map(next));
  return {
    names,
    measure: (name) =>
      Promise.all(
        children.map((child) => {
          child.send(name);
          return next(child);
        }),
      ),
    end: () => {
      for (const child of children) child.disconnect();
    },
  };
}

async function pillowChildren(folder) {
  const python = [fileURLToPath(new URL('../tools/.venv/bin/python', import.meta.url)), 'python3'].find(
    (command) => spawnSync(command, ['-c', 'import PIL']).status === 0,
  );
  if (python === undefined) {
    console.log('Pillow is left out: no Python that has it');
    return { names: [], measure: async () => [], end: () => {} };
  }
  const children = Array.from({ length: COPIES }, () => {
    const child = spawn(python, ['-c', PYTHON, ...paths(folder)], { stdio: ['pipe', 'pipe', 'inherit'] });
    return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
  });
  await Promise.all(children.map(({ lines }) => lines.next()));
  return {
    names: ['Pillow, bilinear', 'Pillow, bicubic'],
    measure: (name) =>
      Promise.all(
        children.map(async ({ child, lines }) => {
          child.stdin.write(`${name.replace(/.* /, '')}\n`);
          return Number((await lines.next()).value);
        }),
      ),
    end: () => {
      for (const { child } of children) child.stdin.end();
    },
  };
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

async function compare(folder, rounds) {
  const groups = [
    await nodeChildren(folder, 'vitserve'),
    await nodeChildren(folder, 'sharp'),
    await pillowChildren(folder),
  ];
  const times = new Map();
  // The round before the first wakes JIT compilers and caches, and is not counted.
  for (let round = -1; round < rounds; round++) {
    for (const { names, measure } of groups) {
      for (const name of names) {
        const measured = await measure(name);
        if (round >= 0) times.set(name, [...(times.get(name) ?? []), ...measured]);
      }
    }
  }
  for (const { end } of groups) end();
  console.log(`${paths(folder).length} photos, ${rounds} rounds, ${COPIES} processes at a time`);
  console.log('CPU-ms a photo (median)                          vitserve bilinear is   bicubic is');
  const ours = [OURS.bilinear, OURS.bicubic].map((name) => median(times.get(name)));
  for (const [name, values] of times) {
    const ratios = ours.map((own) => `${(own / median(values)).toFixed(2)} of it`.padStart(12)).join('  ');
    console.log(`${name.padEnd(32)} ${median(values).toFixed(2).padStart(6)}               ${ratios}`);
  }
}

const [folder = fileURLToPath(new URL('../../shared/data/photos', import.meta.url)), rounds = '5'] =
  process.argv.slice(2);
if (rounds === 'vitserve') await contend(folder, await vitserve());
else if (rounds === 'sharp') await contend(folder, await sharpAlone());
else await compare(folder, Number(rounds));
