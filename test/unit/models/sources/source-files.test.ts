/** Which graph of a folder is taken, and what the error says if none or too many are there. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findSourceFiles } from '#vitserve/models/sources/source-files.js';

const FOLDER = { file: null, variant: null };
const ASIDE = ['README.md', 'config.json', 'preprocessor_config.json'];

function graphOf(
  files: readonly string[],
  request: { file: string | null; variant: string | null } = FOLDER,
): string {
  const found = findSourceFiles(files, request);
  return 'problem' in found ? found.problem : found.graph;
}

describe('a folder', () => {
  test('of optimum: model.onnx and what describes it', () => {
    assert.deepEqual(findSourceFiles([...ASIDE, 'model.onnx', 'model_fp16.onnx'], FOLDER), {
      graph: 'model.onnx',
      config: 'config.json',
      preprocessor: 'preprocessor_config.json',
      card: 'README.md',
    });
  });

  test('of transformers.js: onnx/model.onnx, or the requested variant', () => {
    const files = [
      'config.json',
      'onnx/model.onnx',
      'onnx/model_fp16.onnx',
      'onnx/model_quantized.onnx',
    ];
    assert.equal(graphOf(files), 'onnx/model.onnx');
    assert.equal(graphOf(files, { file: null, variant: 'fp16' }), 'onnx/model_fp16.onnx');
    assert.equal(
      graphOf(files, { file: null, variant: 'q4' }),
      'it has no variant "q4" (model_q4.onnx), only onnx/model.onnx, onnx/model_fp16.onnx, onnx/model_quantized.onnx',
    );
  });

  test('with one graph of any name', () => {
    assert.equal(graphOf(['config.json', 'vit_tiny.onnx', 'vit_tiny.onnx.data']), 'vit_tiny.onnx');
  });

  test('with several graphs and no model.onnx asks which', () => {
    assert.equal(
      graphOf(['a.onnx', 'b.onnx']),
      'it has 2 graphs but no model.onnx: give one of the files (a.onnx, b.onnx)',
    );
  });

  test('without a graph says so, and where checkpoints go', () => {
    assert.equal(graphOf(ASIDE), 'it has no .onnx file: give a folder with one, or the file');
    assert.equal(
      graphOf([...ASIDE, 'model.safetensors']),
      'it has no .onnx file: use "vitserve convert" for model.safetensors',
    );
  });
});

describe('a file', () => {
  test('is taken as named, with the files beside it', () => {
    const found = findSourceFiles(['a.onnx', 'b.onnx', 'config.json'], {
      file: 'b.onnx',
      variant: null,
    });
    assert.deepEqual(found, {
      graph: 'b.onnx',
      config: 'config.json',
      preprocessor: null,
      card: null,
    });
  });

  test('has no variants', () => {
    assert.match(
      graphOf(['a.onnx'], { file: 'a.onnx', variant: 'fp16' }),
      /^--variant chooses among the files of a folder/,
    );
  });
});
