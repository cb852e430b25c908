/** Which model of a repository is served, and what the error says if none can be. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SetupError } from '#vitserve/errors.js';
import { findModels, loadModel, loadRepository, type Model } from '#vitserve/models/repository.js';
import { manifestWith } from './sample-manifest.js';

let repository: string;
beforeEach(() => {
  repository = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
});
afterEach(() => rmSync(repository, { recursive: true }));

const GRAPH = 'not really a graph';
const GRAPH_SHA256 = createHash('sha256').update(GRAPH).digest('hex');

/** Writes one version of a model whose manifest differs from a sound one in `changes`. */
function write(
  name: string,
  version: string,
  changes: Readonly<Record<string, unknown>> = {},
): string {
  const folder = join(repository, name, version);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'model.onnx'), GRAPH);
  const manifest = manifestWith({ 'graph.sha256': GRAPH_SHA256, ...changes });
  writeFileSync(join(folder, 'model.json'), JSON.stringify(manifest));
  return folder;
}

/** The default model. */
async function loadDefault(folder: string, name: string): Promise<Model> {
  const { models, defaultName } = await loadRepository(folder, name);
  return (
    models.find((model) => model.name === defaultName) ??
    assert.fail('the default model is not there')
  );
}

async function refusal(
  name = '',
): Promise<{ readonly kind: string; readonly problems: readonly string[] }> {
  const error: unknown = await loadRepository(repository, name).then(
    () => assert.fail('the model was loaded'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof SetupError, String(error));
  return { kind: error.kind, problems: error.problems };
}

describe('a model that can be served', () => {
  test('is the default model of this repository', async () => {
    const models = fileURLToPath(new URL('../../../models', import.meta.url));
    const model = await loadDefault(models, '');
    assert.equal(model.name, 'vit-cifar10');
    assert.equal(model.graphPath, join(models, 'vit-cifar10', model.version, 'model.onnx'));
    assert.equal(model.manifest.labels[0], 'airplane');
  });

  test('need not be named if it is the only one', async () => {
    const folder = write('small', '1');
    const { name, version, graphPath } = await loadDefault(repository, '');
    assert.deepEqual(
      { name, version, graphPath },
      { name: 'small', version: '1', graphPath: join(folder, 'model.onnx') },
    );
  });

  test('is the named one', async () => {
    write('small', '1');
    write('large', '1');
    assert.equal((await loadDefault(repository, 'large')).name, 'large');
  });

  test('is its highest version, by number and not by text', async () => {
    for (const version of ['9', '10', '2']) write('small', version);
    assert.equal((await loadDefault(repository, 'small')).version, '10');
  });

  test('has versions only in folders named by whole numbers', async () => {
    write('small', '1');
    for (const version of ['02', '3-draft', 'latest', '-4', '5.0', '0']) write('small', version);
    writeFileSync(join(repository, 'small', '6'), 'a file');
    assert.equal((await loadDefault(repository, 'small')).version, '1');
  });

  test('may have random weights only if that is allowed', async () => {
    write('measured', '1', { 'provenance.weights': 'random' });
    const { kind, problems } = await refusal('measured');
    assert.equal(kind, 'usage');
    assert.match(problems.join(), /measured\/1 has random weights.*allow-random-weights/);
    const found = { name: 'measured', version: '1', stamp: '' };
    assert.equal((await loadModel(repository, found, { allowRandomWeights: true })).version, '1');
    write('measured', '2', { 'provenance.weights': 'trained' });
    assert.equal((await loadDefault(repository, 'measured')).version, '2');
  });

  test('may be a link to a folder elsewhere', async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
    write('small', '1');
    symlinkSync(join(repository, 'small'), join(elsewhere, 'linked'));
    assert.equal((await loadDefault(elsewhere, '')).name, 'linked');
    rmSync(elsewhere, { recursive: true });
  });

  test('is told apart from files and hidden folders beside it', async () => {
    write('small', '1');
    write('.cache', '1');
    mkdirSync(join(repository, 'lost+found'));
    writeFileSync(join(repository, 'README.md'), '');
    assert.equal((await loadDefault(repository, '')).name, 'small');
  });
});

describe('a repository', () => {
  test('that is missing', async () => {
    rmSync(repository, { recursive: true });
    const { kind, problems } = await refusal();
    mkdirSync(repository);
    assert.equal(kind, 'environment');
    assert.equal(problems.length, 1);
    assert.ok(problems[0]?.startsWith(`model-repository: can't read ${repository} (ENOENT: `));
    assert.ok(problems[0]?.endsWith('): give the folder with the models'));
  });

  test('that is empty', async () => {
    assert.deepEqual(await refusal(), {
      kind: 'usage',
      problems: [
        `model-repository: ${repository} has no model: put one at NAME/VERSION/model.json`,
      ],
    });
    assert.deepEqual(await refusal('small'), {
      kind: 'usage',
      problems: [`default-model: no model "small" in ${repository}: it is empty`],
    });
  });

  test('that holds several models needs a default', async () => {
    for (const name of ['b', 'a', 'c']) write(name, '1');
    assert.deepEqual(await refusal(), {
      kind: 'usage',
      problems: [
        `default-model: ${repository} has 3 models: choose one with --default-model (a, b, c)`,
      ],
    });
  });

  test('that does not hold the model says what it holds', async () => {
    write('small', '1');
    write('large', '1');
    assert.deepEqual(await refusal('smal'), {
      kind: 'usage',
      problems: [`default-model: no model "smal" in ${repository}: it has large, small`],
    });
  });
});

describe('a version', () => {
  test('is required', async () => {
    mkdirSync(join(repository, 'small', 'latest'), { recursive: true });
    assert.deepEqual(await refusal(), {
      kind: 'environment',
      problems: [
        `model small: no version in ${join(repository, 'small')}: name a folder with a whole number, such as 1`,
      ],
    });
  });

  test('without a manifest', async () => {
    mkdirSync(join(repository, 'small', '1'), { recursive: true });
    const { kind, problems } = await refusal();
    assert.equal(kind, 'environment');
    const path = join(repository, 'small', '1', 'model.json');
    assert.deepEqual(problems, [
      `model small/1: can't read ${path} (ENOENT: no such file or directory, open '${path}')`,
    ]);
  });

  test('with a manifest that has problems reports all of them', async () => {
    const folder = write('small', '1', { license: undefined, 'input.height': 0 });
    assert.deepEqual(await refusal(), {
      kind: 'environment',
      problems: [
        `model small/1: ${join(folder, 'model.json')}: license: Invalid input: expected string, received undefined`,
        `model small/1: ${join(folder, 'model.json')}: input.height: Too small: expected number to be >=1`,
      ],
    });
  });

  test('without its graph', async () => {
    const folder = write('small', '1', { 'graph.file': 'other.onnx' });
    const path = join(folder, 'other.onnx');
    assert.deepEqual((await refusal()).problems, [
      `model small/1: can't read the graph ${path} (ENOENT: no such file or directory, open '${path}')`,
    ]);
  });

  test('with another graph than its manifest describes', async () => {
    const folder = write('small', '1', { 'graph.sha256': 'a'.repeat(64) });
    assert.deepEqual((await refusal()).problems, [
      `model small/1: ${join(folder, 'model.onnx')} is not the graph of the manifest: its sha256 is ${GRAPH_SHA256}, expected ${'a'.repeat(64)}`,
    ]);
  });

  test('whose pixels do not fit the graph reports that along with the graph', async () => {
    const folder = write('small', '1', { 'input.width': 48, 'graph.sha256': 'a'.repeat(64) });
    const [size, hash, ...others] = (await refusal()).problems;
    assert.equal(
      size,
      `model small/1: ${join(folder, 'model.json')}: preprocessing makes 32 × 32 pixels, but the input is 32 × 48`,
    );
    assert.match(hash ?? '', /is not the graph/);
    assert.deepEqual(others, []);
  });

  test('whose pixels are of no fixed size', async () => {
    const folder = write('small', '1', {
      'preprocessing.resize': { mode: 'shortest-edge', size: 32 },
    });
    assert.deepEqual((await refusal()).problems, [
      `model small/1: ${join(folder, 'model.json')}: preprocessing makes images of varying size, but the input is 32 × 32`,
    ]);
  });
});

describe('several models', () => {
  test('are all loaded, each in its highest version, ordered by name', async () => {
    for (const [name, version] of [
      ['small', '1'],
      ['large', '2'],
      ['large', '10'],
    ] as const) {
      write(name, version);
    }
    const { models, defaultName } = await loadRepository(repository, 'small');
    assert.deepEqual(
      models.map(({ name, version }) => `${name}/${version}`),
      ['large/10', 'small/1'],
    );
    assert.equal(defaultName, 'small');
  });

  test('with problems report all of them', async () => {
    write('a', '1', { 'input.height': 0 });
    write('b', '1', { 'graph.sha256': 'a'.repeat(64) });
    write('c', '1');
    const { kind, problems } = await refusal('c');
    assert.equal(kind, 'environment');
    assert.equal(problems.length, 2);
    assert.match(problems[0] ?? '', /^model a\/1: .*input\.height/);
    assert.match(problems[1] ?? '', /^model b\/1: .*is not the graph/);
  });

  test('are found beside folders without a version, which are problems', async () => {
    write('small', '1');
    for (const name of ['broken', 'empty']) mkdirSync(join(repository, name));
    const { found, problems } = await findModels(repository);
    assert.deepEqual(
      found.map(({ name, version }) => [name, version]),
      [['small', '1']],
    );
    assert.deepEqual(
      problems.map((problem) => problem.slice(0, problem.indexOf(' in '))),
      ['model broken: no version', 'model empty: no version'],
    );
    assert.deepEqual((await refusal('small')).problems, problems);
  });
});
