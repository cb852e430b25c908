// Batch invariance: is the answer to a photo the same, bit for bit, alone and in any company? For
// every form that a model can have: as it comes, int8, float16, plain ONNX, onnxruntime's own
// operators, and imported from what PyTorch exports (where tools/.venv is there). Through the
// server's own decoding and sessions, one thread, on the CPU.
//
//   npm run build && node bench/invariance.mjs PHOTOS_FOLDER [COUNT=64]
//
// Each photo is executed alone and once in a batch of each size from 2 to 8, at changing places
// among changing others; a row is its probabilities and its embedding. Exits with 1 where a
// manifest promises what does not hold. Takes a minute for 64 photos.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadModelFolder } from '../dist/models/repository.js';
import { createPixelPreparer } from '../dist/workers/decode/prepare-pixels.js';
import { loadOnnxSession } from '../dist/workers/inference/onnx-session.js';

const BATCH_SIZES = [2, 3, 4, 5, 6, 7, 8];
const [photosFolder, countText = '64'] = process.argv.slice(2);
if (photosFolder === undefined) {
  console.error('node bench/invariance.mjs PHOTOS_FOLDER [COUNT=64]');
  process.exit(2);
}
const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url));
const photos = readdirSync(photosFolder)
  .sort()
  .slice(0, Number(countText))
  .map((name) => join(photosFolder, name));
if (photos.length < Math.max(...BATCH_SIZES))
  throw new Error(`${photosFolder}: at least 8 photos are needed`);

const scratch = mkdtempSync(join(tmpdir(), 'vitserve-invariance-'));
try {
  const broken = [];
  console.log(`${photos.length} photos, alone against in batches of ${BATCH_SIZES.join(', ')}\n`);
  console.log(
    '| form | `batchInvariant` | bit-equal rows | probabilities, embedding at most apart | served |\n|---|---|---|---|---|',
  );
  for (const [form, folder] of forms()) {
    const { manifest, graphPath } = await loadModelFolder(folder);
    const { session } = await loadOnnxSession({ graphPath, manifest, provider: 'cpu', threads: 1 });
    const found = await compare(session, await prepared(manifest));
    if (manifest.batchInvariant === true && !(found !== null && found.equal === found.rows))
      broken.push(form);
    const equal =
      found === null ? 'no batches: takes one image' : `${found.equal} of ${found.rows}`;
    const most =
      found === null ? '' : `${found.scores.toPrecision(2)}, ${found.embeddings.toPrecision(2)}`;
    const served = manifest.batchInvariant === true ? 'in batches' : 'image by image';
    console.log(`| ${form} | ${manifest.batchInvariant} | ${equal} | ${most} | ${served} |`);
  }
  if (broken.length > 0)
    console.log(`\nnot bit-equal, though the manifest says true: ${broken.join('; ')}`);
  process.exitCode = broken.length > 0 ? 1 : 0;
} finally {
  rmSync(scratch, { recursive: true });
}

/** Makes the forms, one when it is asked for: what to call it, and its folder. */
function* forms() {
  const make = (name, command, ...argv) => {
    const out = join(scratch, 'models', name, '1');
    const place =
      command === 'import'
        ? ['--model-repository', join(scratch, 'models'), '--name', name]
        : ['--out', out];
    run(process.execPath, [path('dist/main.js'), command, ...argv, ...place]);
    return out;
  };
  const [version] = readdirSync(path('models/vit-cifar10')).sort((a, b) => b - a);
  const ours = path(`models/vit-cifar10/${version}`);
  yield ['default model', ours];
  yield ['default model, `quantize` (int8)', make('int8', 'quantize', ours)];
  yield [
    'default model, `quantize --dtype float16`',
    make('half', 'quantize', ours, '--dtype', 'float16'),
  ];
  const plain = make('plain', 'convert', '--random', 'Ti/16');
  yield ['Ti/16, `convert`', plain];
  yield ['Ti/16, `convert`, `quantize` (int8)', make('plain-int8', 'quantize', plain)];
  yield [
    'Ti/16, `convert --target cuda`',
    make('fused', 'convert', '--random', 'Ti/16', '--target', 'cuda'),
  ];
  yield [
    'Ti/16, `convert --dtype float16`',
    make('plain-half', 'convert', '--random', 'Ti/16', '--dtype', 'float16'),
  ];

  const python = path('tools/.venv/bin/python');
  if (!existsSync(python)) return console.error('no imported models: tools/.venv is not there');
  const few = join(scratch, 'photos');
  mkdirSync(few);
  for (const [index, photo] of photos.slice(0, 4).entries())
    cpSync(photo, join(few, `${index}.jpg`));
  const exports = join(scratch, 'exports');
  run(python, [path('tools/reference/exports.py'), exports, few]);
  const { models } = JSON.parse(readFileSync(join(exports, 'reference.json'), 'utf8'));
  for (const [name, model] of Object.entries(models)) {
    yield [
      `\`import\` of ${name}`,
      make(name, 'import', join(exports, model.path), ...model.flags),
    ];
  }
}

function run(program, argv) {
  const { status, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${argv.join(' ')}: exit code ${status}\n${stderr}`);
}

/** The photos as this model takes them. */
async function prepared({ input: { height, width }, preprocessing: recipe }) {
  const preparer = createPixelPreparer({ maxImagePixels: 50_000_000, recipe, height, width });
  const images = [];
  for (const photo of photos) {
    const pixels = new Uint8Array(height * width * 3);
    await preparer.prepare(readFileSync(photo), pixels);
    images.push(pixels);
  }
  return images;
}

/**
 * Rows, how many of them are bit-equal, and the largest differences; null where the graph refuses a
 * batch.
 */
async function compare(session, images) {
  const alone = [];
  for (const image of images) alone.push((await rows(session, [image]))[0]);
  const found = { rows: 0, equal: 0, scores: 0, embeddings: 0 };
  for (const size of BATCH_SIZES) {
    const order = shuffled(images.length, size);
    for (let start = 0; start < order.length; start += size) {
      // The last batch is filled up from the front: rows that are executed, but counted once.
      const members = Array.from(
        { length: size },
        (_, place) => order[(start + place) % order.length],
      );
      const batch = members.map((member) => images[member]);
      const together = await rows(session, batch).catch(refusal);
      if (together === null) return null;
      for (const [place, member] of members.slice(0, order.length - start).entries()) {
        const [one, other] = [alone[member], together[place]];
        found.rows++;
        if (sameBits(one.scores, other.scores) && sameBits(one.embeddings, other.embeddings))
          found.equal++;
        for (const part of ['scores', 'embeddings']) {
          found[part] = Math.max(
            found[part],
            ...one[part].map((value, at) => Math.abs(value - other[part][at])),
          );
        }
      }
    }
  }
  return found;
}

/**
 * What onnxruntime says of a batch where a graph's batch is a number. Everything else is a failure.
 */
function refusal(error) {
  if (/invalid dimensions|reshape/i.test(error.message)) return null;
  throw error;
}

/** Per image its probabilities and its embedding. */
async function rows(session, images) {
  const { scores, embeddings } = await session.run(
    Uint8Array.from(Buffer.concat(images)),
    images.length,
  );
  const row = (values, index, length) => values.slice(index * length, (index + 1) * length);
  return images.map((_, index) => ({
    scores: row(scores, index, session.classCount),
    embeddings: row(embeddings ?? new Float32Array(0), index, session.embeddingSize),
  }));
}

function sameBits(one, other) {
  return Buffer.from(one.buffer).equals(Buffer.from(other.buffer));
}

/**
 * 0 to `length - 1` in an order that depends on `seed` only (Fisher and Yates, with a small linear
 * generator).
 */
function shuffled(length, seed) {
  const order = Array.from({ length }, (_, index) => index);
  let state = seed;
  for (let last = length - 1; last > 0; last--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const pick = Math.floor((state / 2 ** 32) * (last + 1));
    [order[last], order[pick]] = [order[pick], order[last]];
  }
  return order;
}
