/**
 * Converted checkpoints answer as transformers and timm do, if a Python with these is available.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadConvertSettings } from '#vitserve/cli/load.js';
import { loadModelFolder } from '#vitserve/models/repository.js';
import { convertModel } from '#vitserve/tools/convert/command.js';
import { loadOnnxSession } from '#vitserve/workers/inference/onnx-session.js';
import { drawnPixels } from '../support/drawn-pixels.js';
import { pythonWith } from '../support/python.js';
import { REPOSITORY } from '../support/server.js';

interface Expected {
  height: number;
  width: number;
  flags: string[];
  tolerance: number;
  probabilities: number[];
  embedding: number[];
}

const python = pythonWith(['torch', 'transformers', 'timm', 'safetensors']);
const skip = python === null ? 'no Python with torch, transformers and timm' : false;
const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
after(() => rmSync(folder, { recursive: true }));

/** The names of the cases in vit_checkpoints.py; written out, so that a lost one is noticed. */
const CASES = [
  ...[
    'vit-old-names',
    'vit-new-names',
    'vit-without-prefix',
    'vit-sharded',
    'vit-bfloat16',
    'vit-no-qkv-bias',
  ],
  ...[
    'vit-tanh',
    'vit-quick-gelu-cuda',
    'vit-tanh-cuda',
    'vit-cuda',
    'vit-cuda-no-bias',
    'vit-float16',
  ],
  ...[
    'vit-patch14',
    'vit-patch32',
    'vit-oblong',
    'vit-larger',
    'deit',
    'deit-teacher',
    'deit-teacher-smaller',
  ],
  ...[
    'timm-vit',
    'timm-layer-scale',
    'timm-larger',
    'timm-registers-average',
    'timm-average-float16',
  ],
  ...[
    'timm-registers-no-embed',
    'timm-clip',
    'timm-deit-distilled',
    'timm-deit-distilled-cuda',
    'timm-heads-by-name',
  ],
];

describe('a converted checkpoint', { skip }, () => {
  test('exists for every case', () => {
    const script = join(REPOSITORY, 'test/integration/vit_checkpoints.py');
    const made = spawnSync(python as string, [script, folder], { encoding: 'utf8' });
    assert.equal(made.status, 0, made.stderr);
    assert.deepEqual(readdirSync(folder).sort(), [...CASES].sort());
  });

  for (const name of CASES) {
    test(`${name} answers as its own library does`, async () => {
      const expected = JSON.parse(
        readFileSync(join(folder, name, 'expected.json'), 'utf8'),
      ) as Expected;
      const models = join(folder, 'models');
      const argv = [join(folder, name), '--model-repository', models, ...expected.flags];
      const { settings, source } = loadConvertSettings(argv, {});
      await convertModel(source, settings, 'test');
      const { graphPath, manifest } = await loadModelFolder(join(models, name));
      assert.deepEqual(
        [manifest.input.height, manifest.input.width],
        [expected.height, expected.width],
      );
      const { session } = await loadOnnxSession({
        graphPath,
        manifest,
        provider: 'cpu',
        threads: 1,
      });
      const { scores, embeddings } = await session.run(
        drawnPixels(2, expected.height, expected.width),
        2,
      );
      assert.ok(embeddings !== null);
      assert.ok(largestDifference(scores, expected.probabilities) <= expected.tolerance);
      // Embeddings are of the order of one to three.
      assert.ok(largestDifference(embeddings, expected.embedding) <= 10 * expected.tolerance);
    });
  }
});

function largestDifference(made: Float32Array, wanted: readonly number[]): number {
  assert.equal(made.length, wanted.length);
  return made.reduce(
    (worst, value, index) => Math.max(worst, Math.abs(value - (wanted[index] as number))),
    0,
  );
}
