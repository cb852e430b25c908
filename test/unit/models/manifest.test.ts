/** The manifest: what is accepted, and the exact text for everything that is not. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { type Manifest, mayBatch, parseManifest } from '#vitserve/models/manifest.js';
import { manifestWith } from './sample-manifest.js';

/**
 * The problems of a manifest that differs from a sound one in the values at these paths;
 * `undefined` removes a key.
 */
function problemsWith(changes: Readonly<Record<string, unknown>>): readonly string[] {
  const parsed = parseManifest(JSON.stringify(manifestWith(changes)));
  return 'problems' in parsed ? parsed.problems : [];
}

function parsed(text: string): Manifest {
  const result = parseManifest(text);
  assert.ok('manifest' in result, 'problems' in result ? result.problems.join('\n') : '');
  return result.manifest;
}

describe('a sound manifest', () => {
  test('of the default model is accepted, every value of it', () => {
    const text = readFileSync(
      new URL('../../../models/vit-cifar10/1/model.json', import.meta.url),
      'utf8',
    );
    const manifest = parsed(text);
    assert.deepEqual(manifest, JSON.parse(text));
    assert.equal(manifest.labels.length, 10);
  });

  test('may keep the aspect ratio, crop, take floats and have no embedding', () => {
    assert.deepEqual(
      problemsWith({
        'preprocessing.resize': { mode: 'shortest-edge', size: 256 },
        'preprocessing.crop': { height: 32, width: 32, rounding: 'half-even' },
        'preprocessing.normalizedInGraph': false,
        'input.type': 'float32',
        'input.layout': 'NCHW',
        'output.kind': 'logits',
        embedding: null,
      }),
      [],
    );
  });

  test('may leave pictures at their size', () => {
    assert.deepEqual(problemsWith({ 'preprocessing.resize': null }), []);
  });
});

describe('a problem is reported with the path of its key', () => {
  for (const [what, changes, problem] of [
    ['an unknown key', { threads: 2 }, 'manifest: Unrecognized key: "threads"'],
    ['an unknown nested key', { 'input.depth': 3 }, 'input: Unrecognized key: "depth"'],
    [
      'a key that is missing',
      { license: undefined },
      'license: Invalid input: expected string, received undefined',
    ],
    [
      'a key that is missing further down',
      { 'preprocessing.crop': undefined },
      'preprocessing.crop: Invalid input: expected object, received undefined',
    ],
    ['a newer format', { formatVersion: 2 }, 'formatVersion: Invalid input: expected 1'],
    [
      'a value of another type',
      { batchInvariant: 'yes' },
      'batchInvariant: must be true, false or "accelerator"',
    ],
    [
      'a graph in another folder',
      { 'graph.file': '../model.onnx' },
      'graph.file: must be the name of a file in the same folder',
    ],
    [
      'an invalid hash',
      { 'graph.sha256': 'ABC' },
      'graph.sha256: must be 64 lower-case hexadecimal digits',
    ],
    [
      'an unknown layout',
      { 'input.layout': 'CHW' },
      'input.layout: Invalid option: expected one of "NHWC"|"NCHW"',
    ],
    ['a size of zero', { 'input.height': 0 }, 'input.height: Too small: expected number to be >=1'],
    [
      'a size beyond all reason',
      { 'input.width': 4097 },
      'input.width: Too big: expected number to be <=4096',
    ],
    [
      'half a pixel',
      { 'input.width': 1.5 },
      'input.width: Invalid input: expected int, received number',
    ],
    [
      'an empty name',
      { 'output.name': '' },
      'output.name: Too small: expected string to have >=1 characters',
    ],
    [
      'an unknown activation',
      { 'output.activation': 'relu' },
      'output.activation: Invalid option: expected one of "softmax"|"sigmoid"|"none"',
    ],
    ['no labels', { labels: [] }, 'labels: Too small: expected array to have >=1 items'],
    [
      'an empty label',
      { 'labels.1': '' },
      'labels.1: Too small: expected string to have >=1 characters',
    ],
    [
      'an unknown filter',
      { 'preprocessing.interpolation': 'area' },
      'preprocessing.interpolation: Invalid option: expected one of "nearest"|"box"|"bilinear"|"hamming"|"bicubic"|"lanczos"',
    ],
    [
      'an unknown way to resize',
      { 'preprocessing.resize.mode': 'fit' },
      "preprocessing.resize.mode: Invalid discriminator value. Expected 'squash' | 'shortest-edge'",
    ],
    [
      'a rescaling by nothing',
      { 'preprocessing.rescale': 0 },
      'preprocessing.rescale: Too small: expected number to be >0',
    ],
    [
      'a deviation of zero',
      { 'preprocessing.std': [0.5, 0, 0.5] },
      'preprocessing.std: must be above zero',
    ],
    [
      'a mean of two channels',
      { 'preprocessing.mean': [0.5, 0.5] },
      'preprocessing.mean: Too small: expected array to have >=3 items',
    ],
    [
      'a source that is not text',
      { 'provenance.epochs': 3 },
      'provenance.epochs: Invalid input: expected string, received number',
    ],
    [
      'a float input without normalisation',
      { 'input.type': 'float32' },
      'preprocessing.normalizedInGraph: must be true for a uint8 input, false for a float32 input',
    ],
    [
      'a uint8 input that is normalised outside the graph',
      { 'preprocessing.normalizedInGraph': false },
      'preprocessing.normalizedInGraph: must be true for a uint8 input, false for a float32 input',
    ],
  ] as const) {
    test(what, () => assert.deepEqual(problemsWith(changes), [problem]));
  }

  test('all problems at once', () => {
    assert.equal(
      problemsWith({ license: 1, 'input.height': 0, labels: [], extra: true }).length,
      4,
    );
  });
});

test('text that is not JSON is one problem', () => {
  const result = parseManifest('{');
  assert.ok('problems' in result && result.problems.length === 1);
  assert.match(result.problems[0] ?? '', /^not JSON \(.+\)$/);
});

test('JSON that is not an object is one problem', () => {
  const result = parseManifest('[]');
  assert.deepEqual(result, {
    problems: ['manifest: Invalid input: expected object, received array'],
  });
});

test('a model is batched if an answer does not depend on its batch', () => {
  const on = (batchInvariant: unknown, provider: string) =>
    mayBatch(parsed(JSON.stringify(manifestWith({ batchInvariant }))), provider);
  assert.deepEqual([on(true, 'cpu'), on(true, 'cuda')], [true, true]);
  assert.deepEqual([on(false, 'cpu'), on(false, 'cuda')], [false, false]);
  assert.deepEqual([on('accelerator', 'cpu'), on('accelerator', 'cuda')], [false, true]);
});
