/**
 * Batch invariance: is the answer to a photo the same, bit for bit, alone and in any company? For
 * every form that a model can have: as it comes, int8, float16, plain ONNX, onnxruntime's own
 * operators, and imported from what PyTorch exports (where tools/.venv is there). Through the
 * server's own decoding and sessions, one thread, on the CPU.
 *
 * Each photo is executed alone and once in a batch of each size from 2 to 8, at changing places
 * among changing others; a row is its probabilities and its embedding. Exits with 1 where a
 * manifest promises what does not hold. Takes a minute for 64 photos.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { seededRandom } from '#vitserve/client/bench/arrivals.js';
import type { Session } from '#vitserve/workers/inference/session.js';
import { bench, number, photos } from './lib/bench.js';
import { Table } from './lib/figures.js';
import { ROOT, run, vitserve } from './lib/machine.js';
import { jpegsIn, photosFolder } from './lib/pictures.js';
import { withScratch } from './lib/scratch.js';
import { openModel } from './lib/sessions.js';

const BATCH_SIZES = [2, 3, 4, 5, 6, 7, 8];
const PARTS = ['scores', 'embeddings'] as const;

type Row = Readonly<Record<(typeof PARTS)[number], Float32Array>>;

interface Difference {
  rows: number;
  equal: number;
  scores: number;
  embeddings: number;
}

/** Makes the forms, one when it is asked for: what to call it, and its folder. */
function* forms(scratch: string, photos: readonly string[]): Generator<[string, string]> {
  const models = join(scratch, 'models');
  const make = (name: string, command: string, ...argv: string[]) => {
    const folder = join(models, name, '1');
    const place =
      command === 'import' ? ['--model-repository', models, '--name', name] : ['--out', folder];
    vitserve(command, ...argv, ...place);
    return folder;
  };
  const own = join(ROOT, 'models/vit-cifar10');
  const newest = readdirSync(own).sort((one, other) => Number(other) - Number(one))[0] as string;
  const ours = join(own, newest);
  yield ['default model', ours];
  yield ['default model, `quantize` (int8)', make('int8', 'quantize', ours)];
  const half = ['--dtype', 'float16'];
  yield ['default model, `quantize --dtype float16`', make('half', 'quantize', ours, ...half)];
  const random = ['--random', 'Ti/16'];
  const plain = make('plain', 'convert', ...random);
  yield ['Ti/16, `convert`', plain];
  yield ['Ti/16, `convert`, `quantize` (int8)', make('plain-int8', 'quantize', plain)];
  const fused = make('fused', 'convert', ...random, '--target', 'cuda');
  yield ['Ti/16, `convert --target cuda`', fused];
  const plainHalf = make('plain-half', 'convert', ...random, ...half);
  yield ['Ti/16, `convert --dtype float16`', plainHalf];

  const python = join(ROOT, 'tools/.venv/bin/python');
  if (!existsSync(python)) return console.error('no imported models: tools/.venv is not there');
  const few = join(scratch, 'photos');
  mkdirSync(few);
  for (const [index, photo] of photos.slice(0, 4).entries())
    cpSync(photo, join(few, `${index}.jpg`));
  const exports = join(scratch, 'exports');
  run(python, [join(ROOT, 'tools/reference/exports.py'), exports, few]);
  const reference: { models: Record<string, { path: string; flags: string[] }> } = JSON.parse(
    readFileSync(join(exports, 'reference.json'), 'utf8'),
  );
  for (const [name, { path, flags }] of Object.entries(reference.models))
    yield [`\`import\` of ${name}`, make(name, 'import', join(exports, path), ...flags)];
}

/** The differences between images alone and in batches; null where the graph takes no batch. */
async function compare(
  session: Session,
  images: readonly Uint8Array[],
): Promise<Difference | null> {
  const alone: Row[] = [];
  for (const image of images) alone.push(...(await rowsOf(session, [image])));
  const found: Difference = { rows: 0, equal: 0, scores: 0, embeddings: 0 };
  for (const size of BATCH_SIZES) {
    const order = shuffled(images.length, size);
    for (let start = 0; start < order.length; start += size) {
      // The last batch is filled up from the front: rows that are executed, but counted once.
      const members = Array.from(
        { length: size },
        (_, place) => order[(start + place) % order.length] as number,
      );
      const batch = members.map((member) => images[member] as Uint8Array);
      const together = await rowsOf(session, batch).catch(refusedBatch);
      if (together === null) return null;
      for (const [place, member] of members.slice(0, order.length - start).entries())
        note(found, alone[member] as Row, together[place] as Row);
    }
  }
  return found;
}

function note(found: Difference, one: Row, other: Row): void {
  found.rows++;
  if (PARTS.every((part) => sameBits(one[part], other[part]))) found.equal++;
  for (const part of PARTS) {
    const apart = one[part].map((value, at) => Math.abs(value - (other[part][at] ?? NaN)));
    found[part] = Math.max(found[part], ...apart);
  }
}

/** onnxruntime's word for it where a graph's batch is a number. Everything else is a failure. */
function refusedBatch(error: Error): null {
  if (/invalid dimensions|reshape/i.test(error.message)) return null;
  throw error;
}

async function rowsOf(session: Session, images: readonly Uint8Array[]): Promise<Row[]> {
  const pixels = Uint8Array.from(Buffer.concat(images));
  const { scores, embeddings } = await session.run(pixels, images.length);
  const row = (values: Float32Array, index: number, length: number) =>
    values.slice(index * length, (index + 1) * length);
  return images.map((_, index) => ({
    scores: row(scores, index, session.classCount),
    embeddings: row(embeddings ?? new Float32Array(0), index, session.embeddingSize),
  }));
}

function sameBits(one: Float32Array, other: Float32Array): boolean {
  return Buffer.from(one.buffer).equals(Buffer.from(other.buffer));
}

/** 0 to `length - 1`, in an order that depends on the seed only. */
function shuffled(length: number, seed: number): number[] {
  const random = seededRandom(seed);
  const keys = Array.from({ length }, (_, index) => ({ index, key: random() }));
  return keys.sort((one, other) => one.key - other.key).map(({ index }) => index);
}

export default bench({
  about: 'whether a photo gets the same answer, bit for bit, alone and in any batch',
  options: { photos: photos(), count: number('photos', 64) },
  async run(given) {
    await withScratch(async (scratch) => {
      const folder = await photosFolder(given.photos, scratch);
      const paths = jpegsIn(folder).slice(0, given.count);
      if (paths.length < Math.max(...BATCH_SIZES))
        throw new Error(`${folder}: at least 8 photos are needed`);
      console.log(`${paths.length} photos, alone and in batches of ${BATCH_SIZES.join(', ')}\n`);
      const table = new Table(
        'form',
        '`batchInvariant`',
        'bit-equal rows',
        'probabilities, embedding at most apart',
        'served',
      );
      const broken: string[] = [];
      for (const [form, modelFolder] of forms(scratch, paths)) {
        const { manifest, session, pixelsOf } = await openModel(modelFolder);
        const images: Uint8Array[] = [];
        for (const path of paths) images.push(await pixelsOf(path));
        const found = await compare(session, images);
        const promised = manifest.batchInvariant === true;
        if (promised && (found === null || found.equal !== found.rows)) broken.push(form);
        table.row(
          form,
          String(manifest.batchInvariant),
          found === null ? 'no batches: takes one image' : `${found.equal} of ${found.rows}`,
          found === null ? '' : PARTS.map((part) => found[part].toPrecision(2)).join(', '),
          promised ? 'in batches' : 'image by image',
        );
      }
      if (broken.length > 0)
        console.log(`\nnot bit-equal, though the manifest says true: ${broken.join('; ')}`);
      process.exitCode = broken.length > 0 ? 1 : 0;
    });
  },
});
