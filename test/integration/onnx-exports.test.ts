/** Prepared exports of PyTorch models answer as PyTorch does; needs the project's Python. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { prepareGraph } from '#vitserve/onnx/passes/prepare.js';
import { encodeModel } from '#vitserve/onnx/proto/codec.js';
import { readModel } from '#vitserve/onnx/proto/files.js';
import { openSession, Tensor } from '#vitserve/workers/inference/onnxruntime.js';
import { pythonWith } from '../support/python.js';
import { REPOSITORY } from '../support/server.js';

interface Case {
  readonly name: string;
  readonly size: number;
  readonly mean: number[];
  readonly std: number[];
  /** Exported for one image; here all of them answer for three at once. */
  readonly fixed: boolean;
}

const IMAGES = 3;
const python = pythonWith(['torch', 'timm', 'transformers', 'onnx']);

function floatsIn(path: string): Float32Array {
  return new Float32Array(new Uint8Array(readFileSync(path)).buffer);
}

function mostDifferent(found: Float32Array, expected: Float32Array): number {
  assert.equal(found.length, expected.length);
  return found.reduce(
    (most, value, at) => Math.max(most, Math.abs(value - (expected[at] ?? Number.NaN))),
    0,
  );
}

test('exports of Hugging Face and timm models, prepared, answer as PyTorch does', {
  skip: python === null ? 'no Python with torch, timm, transformers and onnx' : false,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-exports-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const script = join(REPOSITORY, 'test/integration/onnx_exports.py');
  const printed = execFileSync(python ?? '', [script, folder], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const cases = JSON.parse(printed.trim().split('\n').at(-1) ?? '') as Case[];
  assert.ok(cases.length >= 8);
  for (const { name, size, mean, std } of cases) {
    await t.test(name, async () => {
      const graph = prepareGraph(await readModel(join(folder, `${name}.onnx`)), {
        input: { name: 'pixel_values', layout: 'NCHW', height: size, width: size },
        normalization: { rescale: 1 / 255, mean, std },
        output: { name: 'logits', activation: 'none', kind: 'logits' },
        embedding: 'find',
      });
      const notes = graph.notes.join('\n');
      assert.equal(graph.fixedBatch, null, notes);
      assert.equal(graph.foldedNormalization, true, notes);
      const session = await openSession(encodeModel(graph.model));
      t.after(() => session.release());
      const pixels = new Tensor(
        'uint8',
        new Uint8Array(readFileSync(join(folder, `${name}.pixels`))),
        [IMAGES, size, size, 3],
      );
      const { logits, embedding } = await session.run({ pixels });
      const expected = floatsIn(join(folder, `${name}.embedding`));
      assert.ok(
        mostDifferent(logits?.data as Float32Array, floatsIn(join(folder, `${name}.logits`))) <
          5e-5,
      );
      assert.equal(graph.embeddingSize, expected.length / IMAGES, notes);
      assert.ok(mostDifferent(embedding?.data as Float32Array, expected) < 5e-5);
    });
  }
});
