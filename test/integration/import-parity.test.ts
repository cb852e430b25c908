/**
 * Imports compared with PyTorch: small models with random weights, exported by common exporters
 * (tools/reference/exports.py), imported by the built program, and given the same pictures through
 * the server's own decoding and session. At most 1e-4 apart, 5e-3 if the weights are float16.
 *
 * Needs a Python with torch, transformers, timm and torchvision: tools/.venv, or python3 on the
 * path. Otherwise skips, and says so.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import sharp from 'sharp';
import { loadModelFolder } from '#vitserve/models/repository.js';
import { createPixelPreparer } from '#vitserve/workers/decode/prepare-pixels.js';
import { loadOnnxSession } from '#vitserve/workers/inference/onnx-session.js';
import { texture } from '../support/images.js';
import { pythonWith } from '../support/python.js';
import {
  REPOSITORY,
  runProgram,
  suiteScope,
  temporaryFolder,
  vitserve,
} from '../support/server.js';

interface Reference {
  readonly images: readonly string[];
  readonly skipped: readonly string[];
  readonly models: Readonly<
    Record<
      string,
      {
        readonly path: string;
        readonly flags: readonly string[];
        readonly tolerance: number;
        readonly probabilities: readonly (readonly number[])[];
      }
    >
  >;
}

/** The files of exports.py; the last one only if Python has onnxscript. */
const MODELS = [
  'optimum-vit',
  'optimum-deit',
  'transformers-js',
  'transformers-js-fp16',
  'timm',
  'one-logit',
  'torchvision',
  'fixed-batch-without-names',
  'channels-last',
  'dynamo',
];

/**
 * Whether a fixed batch can be made dynamic depends on the exporter; otherwise images are executed
 * one by one.
 */
const FIXED_BATCH: readonly string[] = ['fixed-batch-without-names'];

const SIZES = [
  [90, 70],
  [64, 120],
  [201, 150],
  [64, 64],
] as const;

const python = pythonWith(['torch', 'transformers', 'timm', 'torchvision', 'onnx']);
const skip =
  python === null ? { skip: 'no Python with torch, transformers, timm, torchvision and onnx' } : {};

describe('imported models compared with PyTorch', skip, () => {
  const scope = suiteScope();
  const folder = temporaryFolder(scope);
  const exports = join(folder, 'exports');
  const pictures = join(folder, 'pictures');
  let reference: Reference;

  before(async () => {
    mkdirSync(pictures);
    for (const [index, [width, height]] of SIZES.entries()) {
      const raw = { width, height, channels: 3 } as const;
      const file = await sharp(texture(index + 1, width, height), { raw })
        .png()
        .toBuffer();
      writeFileSync(join(pictures, `${index}.png`), file);
    }
    const script = join(REPOSITORY, 'tools/reference/exports.py');
    const { code, stderr } = await runProgram(scope, python ?? '', [script, exports, pictures]);
    assert.equal(code, 0, stderr);
    reference = JSON.parse(readFileSync(join(exports, 'reference.json'), 'utf8')) as Reference;
  });

  for (const name of MODELS) {
    test(name, async (t) => {
      const missing = reference.skipped.find((line) => line.startsWith(`${name}:`));
      if (missing !== undefined) return t.skip(missing);
      const model = reference.models[name];
      assert(model, `exports.py has written ${Object.keys(reference.models).join(', ')}`);
      const models = join(folder, `repository-${name}`);
      const args = [
        'import',
        join(exports, model.path),
        '--model-repository',
        models,
        '--name',
        'it',
        ...model.flags,
      ];
      const finished = await vitserve(t, args);
      assert.equal(finished.code, 0, finished.stderr);

      const { graphPath, manifest } = await loadModelFolder(join(models, 'it'));
      assert.equal(manifest.input.type, 'uint8', 'prepared, and not served as it is');
      assert.equal(manifest.embedding?.size, 48, 'the representation was found');
      const invariant = name.endsWith('fp16') ? 'accelerator' : true;
      if (!FIXED_BATCH.includes(name)) assert.equal(manifest.batchInvariant, invariant);
      const { session } = await loadOnnxSession({
        graphPath,
        manifest,
        provider: 'cpu',
        threads: 1,
      });
      const { height, width } = manifest.input;
      const preparer = createPixelPreparer({
        maxImagePixels: 1e6,
        recipe: manifest.preprocessing,
        height,
        width,
      });
      let worst = 0;
      for (const [index, image] of reference.images.entries()) {
        const pixels = new Uint8Array(height * width * 3);
        await preparer.prepare(readFileSync(join(pictures, image)), pixels);
        const { scores } = await session.run(pixels, 1);
        const expected: readonly number[] = model.probabilities[index] ?? [];
        assert.equal(scores.length, expected.length);
        for (const [at, value] of expected.entries())
          worst = Math.max(worst, Math.abs(value - (scores[at] ?? 2)));
      }
      t.diagnostic(`at most ${worst.toExponential(1)} apart`);
      assert.ok(worst <= model.tolerance, `${worst} apart, at most ${model.tolerance} is right`);
    });
  }
});
