/**
 * CPU time from a JPEG file to 224 × 224 pixels: vitserve's decoder against sharp's own pipeline
 * and Pillow.
 *
 *   npm run build && node bench/decode.mjs [FOLDER] [ROUNDS]
 *
 * FOLDER holds JPEG photos (../shared/data/photos beside the repository where it is not given).
 * Every candidate takes all of them in turn, in two processes at the same time so that two cores
 * are busy, ROUNDS (5) times over, one candidate after the other within each round. Printed is the
 * median over rounds and processes of the CPU time a photo (user and system, all threads), and its
 * ratio to vitserve's. Pillow runs where there is a Python with it: tools/.venv, or python3.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { answerQuestions, pythonWith, startChildren } from './children.mjs';
import { jpegsIn, PHOTOS } from './pictures.mjs';
import { median } from './server.mjs';

const SIDE = 224;
const COPIES = 2;
const OURS = { bilinear: 'vitserve, bilinear', bicubic: 'vitserve, bicubic' };

const PYTHON = `
import io, json, sys, time
from PIL import Image
photos = [open(path, 'rb').read() for path in sys.argv[1:]]
print(json.dumps(['Pillow, bilinear', 'Pillow, bicubic']), flush=True)
for line in sys.stdin:
    kernel = Image.Resampling[json.loads(line).split()[-1].upper()]
    start = time.process_time()
    for photo in photos:
        Image.open(io.BytesIO(photo)).convert('RGB').resize((${SIDE}, ${SIDE}), kernel).tobytes()
    print((time.process_time() - start) * 1000 / len(photos), flush=True)
`;

/** In a child: sharp as it is set up by itself. */
async function sharpAlone() {
  const { default: sharp } = await import('sharp');
  return {
    'sharp, its own pipeline': (photo) =>
      sharp(photo).resize(SIDE, SIDE, { fit: 'fill' }).raw().toBuffer(),
  };
}

/** In a child: what a decoder process does. */
async function vitserve() {
  const { createPixelDecoder } = await import('../dist/workers/decode/prepare-pixels.js');
  const target = new Uint8Array(SIDE * SIDE * 3);
  const prepare = (jpegDecoder, interpolation) => {
    const resize = { mode: 'squash', height: SIDE, width: SIDE };
    const recipe = { resize, interpolation, crop: null };
    const decoder = createPixelDecoder({ maxImagePixels: 5e7, jpegDecoder });
    if (decoder.jpegFallback !== null) throw new Error(decoder.jpegFallback.why);
    const preparer = decoder.preparerFor({ recipe, height: SIDE, width: SIDE });
    return (photo) => preparer.prepare(photo, target);
  };
  return {
    [OURS.bilinear]: prepare('auto', 'bilinear'),
    [OURS.bicubic]: prepare('auto', 'bicubic'),
    'vitserve with sharp, bilinear': prepare('sharp', 'bilinear'),
  };
}

/** In a child: answers each candidate's name with the CPU time that a photo took. */
async function contend(folder, candidates) {
  const photos = jpegsIn(folder).map((path) => readFileSync(path));
  await answerQuestions(Object.keys(candidates), async (name) => {
    const before = process.cpuUsage();
    for (const photo of photos) await candidates[name](photo);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000 / photos.length;
  });
}

async function compare(folder, rounds) {
  const own = fileURLToPath(import.meta.url);
  const python = pythonWith(['PIL']);
  if (python === null) console.log('Pillow is left out: no Python that has it');
  const groups = [
    await startChildren(COPIES, process.execPath, [own, folder, 'vitserve']),
    await startChildren(COPIES, process.execPath, [own, folder, 'sharp']),
    ...(python === null
      ? []
      : [await startChildren(COPIES, python, ['-c', PYTHON, ...jpegsIn(folder)])]),
  ];
  const times = new Map();
  // The round before the first wakes JIT compilers and caches, and is not counted.
  for (let round = -1; round < rounds; round++) {
    for (const { hello: names, ask } of groups) {
      for (const name of names) {
        const measured = await ask(name);
        if (round >= 0) times.set(name, [...(times.get(name) ?? []), ...measured]);
      }
    }
  }
  for (const { end } of groups) end();
  console.log(`${jpegsIn(folder).length} photos, ${rounds} rounds, ${COPIES} processes at a time`);
  console.log('CPU-ms a photo (median)                          vitserve bilinear is   bicubic is');
  const ours = [OURS.bilinear, OURS.bicubic].map((name) => median(times.get(name)));
  for (const [name, values] of times) {
    const ratios = ours
      .map((own) => `${(own / median(values)).toFixed(2)} of it`.padStart(12))
      .join('  ');
    console.log(
      `${name.padEnd(32)} ${median(values).toFixed(2).padStart(6)}               ${ratios}`,
    );
  }
}

const [folder = PHOTOS, rounds = '5'] = process.argv.slice(2);
if (rounds === 'vitserve') await contend(folder, await vitserve());
else if (rounds === 'sharp') await contend(folder, await sharpAlone());
else await compare(folder, Number(rounds));
