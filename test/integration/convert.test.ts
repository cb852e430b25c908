/**
 * Converted models run: random ones of any variant, and the default model's checkpoint, which
 * answers as its committed graph does.
 */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadConvertSettings } from '#vitserve/cli/load.js';
import { SetupError } from '#vitserve/errors.js';
import { loadModelFolder, loadRepository } from '#vitserve/models/repository.js';
import { type Converted, convertModel } from '#vitserve/tools/convert/command.js';
import { loadOnnxSession } from '#vitserve/workers/inference/onnx-session.js';
import { drawnPixels } from '../support/drawn-pixels.js';
import { REPOSITORY } from '../support/server.js';

const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
const models = join(folder, 'models');
after(() => rmSync(folder, { recursive: true }));

function convert(...argv: string[]): Promise<Converted> {
  const { settings, source } = loadConvertSettings(['--model-repository', models, ...argv], {});
  return convertModel(source, settings, 'test');
}

async function open(repository: string, name: string) {
  const { graphPath, manifest } = await loadModelFolder(join(repository, name));
  const { session } = await loadOnnxSession({ graphPath, manifest, provider: 'cpu', threads: 1 });
  const { height, width } = manifest.input;
  /** Copies, because outputs are valid until the next run only. */
  const run = async (pixels: Uint8Array, images: number) => {
    const { scores, embeddings } = await session.run(pixels, images);
    return { scores: scores.slice(), embeddings: (embeddings as Float32Array).slice() };
  };
  return { manifest, run, pixels: (images: number) => drawnPixels(images, height, width) };
}

async function refusal(...argv: string[]): Promise<string> {
  try {
    await convert(...argv);
  } catch (error) {
    assert.ok(error instanceof SetupError, String(error));
    return error.problems.join('\n');
  }
  return assert.fail('converted');
}

describe('a model with random weights', () => {
  for (const [name, ...flags] of [
    ['cpu', '--random', 'Ti/16', '--image-size', '96'],
    ['cuda', '--random', 'Ti/32', '--image-size', '96x64', '--target', 'cuda'],
  ] as [string, ...string[]][]) {
    test(`for ${name} answers every picture the same alone and in a batch of 8`, async () => {
      await convert(...flags, '--name', name, '--classes', '10');
      const { run, pixels, manifest } = await open(models, name);
      assert.equal(manifest.labels.length, 10);
      const all = pixels(8);
      const together = await run(all, 8);
      for (let image = 0; image < 8; image++) {
        const alone = await run(
          all.subarray((image * all.length) / 8, ((image + 1) * all.length) / 8),
          1,
        );
        for (const output of ['scores', 'embeddings'] as const) {
          const width = alone[output].length;
          assert.deepEqual(
            together[output].subarray(image * width, (image + 1) * width),
            alone[output],
          );
        }
        assert.ok(Math.abs(alone.scores.reduce((sum, score) => sum + score, 0) - 1) < 1e-5);
      }
      assert.notDeepEqual(together.scores.subarray(0, 10), together.scores.subarray(10, 20));
    });
  }

  test('is the same for a seed, and different for another', async () => {
    const flags = ['--random', 'Ti/16', '--image-size', '32', '--classes', '3'];
    for (const [name, seed] of [
      ['one', '1'],
      ['again', '1'],
      ['other', '2'],
    ] as const) {
      await convert(...flags, '--name', name, '--seed', seed);
    }
    const hashes = ['one', 'again', 'other'].map(
      (name) =>
        JSON.parse(readFileSync(join(models, name, '1/model.json'), 'utf8')).graph.sha256 as string,
    );
    assert.equal(hashes[0], hashes[1]);
    assert.notEqual(hashes[0], hashes[2]);
  });

  test('says what it is, and is served only if that is allowed', async () => {
    const { notes } = await convert('--random', 'Ti/16', '--image-size', '32', '--name', 'marked');
    assert.match(notes.join(), /--allow-random-weights/);
    await assert.rejects(
      loadRepository(models, 'marked', { allowRandomWeights: false }),
      /random weights.*allow-random-weights/,
    );
    const { manifest } = await loadModelFolder(join(models, 'marked'));
    assert.equal(manifest.provenance.weights, 'random');
  });

  test('has a default name, and each conversion is the next version', async () => {
    const flags = ['--random', 'Ti/8', '--image-size', '16', '--classes', '2'];
    const places = [await convert(...flags), await convert(...flags)].map(({ place }) => place);
    assert.deepEqual(
      places,
      ['1', '2'].map((version) => join(models, 'vit-ti-8-random', version)),
    );
  });

  test('of an unknown variant, or with an image size that does not fit, is rejected', async () => {
    assert.match(
      await refusal('--random', 'XL/16'),
      /"XL\/16" is not a variant: give Ti, S, B, L, H/,
    );
    assert.match(
      await refusal('--random', 'B/14', '--image-size', '100'),
      /100 × 100 is not a multiple of the patch/,
    );
  });
});

describe('the default model', () => {
  const checkpoint = join(REPOSITORY, 'models/vit-cifar10/1');

  test('converted from its checkpoint answers as its committed graph does', async () => {
    const out = join(folder, 'own/vit-cifar10/3');
    const { place } = await convert(checkpoint, '--out', out);
    assert.equal(place, out);
    assert.deepEqual(readdirSync(out).sort(), ['model.json', 'model.onnx']);
    const committed = await open(join(REPOSITORY, 'models'), 'vit-cifar10');
    const converted = await open(join(folder, 'own'), 'vit-cifar10');
    for (const key of [
      'input',
      'output',
      'embedding',
      'preprocessing',
      'labels',
      'batchInvariant',
    ] as const) {
      assert.deepEqual(converted.manifest[key], committed.manifest[key]);
    }
    const pixels = committed.pixels(16);
    const [wanted, made] = [await committed.run(pixels, 16), await converted.run(pixels, 16)];
    for (const output of ['scores', 'embeddings'] as const) {
      const worst = made[output].map((value, index) =>
        Math.abs(value - (wanted[output][index] as number)),
      );
      assert.ok(Math.max(...worst) <= 1e-5, `${output} ${Math.max(...worst)}`);
    }
  });

  test('converted for CUDA computes the same', async () => {
    await convert(checkpoint, '--name', 'fused', '--target', 'cuda');
    const committed = await open(join(REPOSITORY, 'models'), 'vit-cifar10');
    const fused = await open(models, 'fused');
    const pixels = committed.pixels(4);
    const [wanted, made] = [await committed.run(pixels, 4), await fused.run(pixels, 4)];
    const worst = made.scores.map((value, index) =>
      Math.abs(value - (wanted.scores[index] as number)),
    );
    assert.ok(Math.max(...worst) <= 1e-5, `${Math.max(...worst)}`);
  });

  test('takes a larger picture, with its recipe', async () => {
    await convert(checkpoint, '--name', 'larger', '--image-size', '48');
    const { manifest, run, pixels } = await open(models, 'larger');
    assert.deepEqual(manifest.preprocessing.resize, { mode: 'squash', height: 48, width: 48 });
    assert.equal((await run(pixels(2), 2)).scores.length, 20);
  });

  test('with wrong files beside its weights is rejected, and leaves nothing behind', async () => {
    const broken = join(folder, 'broken');
    cpSync(checkpoint, broken, { recursive: true });
    const config = JSON.parse(readFileSync(join(broken, 'config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    const write = (changes: object) =>
      writeFileSync(join(broken, 'config.json'), JSON.stringify({ ...config, ...changes }));
    write({ intermediate_size: 512, hidden_act: 'swish', num_hidden_layers: 3 });
    const problems = await refusal(broken);
    assert.match(problems, /hidden_act swish/);
    assert.match(problems, /layer\.0\.\S+ is \[384, 192\], config\.json makes it \[512, 192\]/);
    write({ num_hidden_layers: 3 });
    assert.match(
      await refusal(broken),
      /parts that vitserve does not know: vit\.encoder\.layer\.3\./,
    );
    write({ num_attention_heads: 5 });
    assert.match(await refusal(broken), /192 is not a multiple of the 5 attention heads/);
    write({ model_type: 'swin' });
    assert.match(await refusal(broken), /model_type swin .* vitserve import/);
    write({});
    assert.match(
      await refusal(broken, '--image-size', '30'),
      /30 × 30 is not a multiple of the patch size 4 × 4/,
    );
    writeFileSync(join(broken, 'labels.txt'), 'one\ntwo\n');
    assert.match(
      await refusal(broken, '--labels', join(broken, 'labels.txt')),
      /10 classes, but .* has 2 labels/,
    );
    rmSync(join(broken, 'preprocessor_config.json'));
    assert.match(await refusal(broken), /preprocessor_config\.json does not exist: .*--recipe/);
    rmSync(join(broken, 'config.json'));
    assert.match(await refusal(broken), /config\.json does not exist/);
    assert.ok(!existsSync(join(models, 'broken')));
    assert.deepEqual(
      readdirSync(models).filter((name) => name.startsWith('.')),
      [],
    );
  });

  test('is not overwritten', async () => {
    const out = join(folder, 'twice/vit/1');
    await convert(checkpoint, '--out', out);
    assert.match(await refusal(checkpoint, '--out', out), / exists: leave out --version/);
    assert.match(
      await refusal(checkpoint, '--out', join(folder, 'twice/vit')),
      /does not end with a version/,
    );
  });
});
