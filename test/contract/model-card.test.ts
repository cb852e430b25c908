/**
 * The default model's card says what its report says, and the model is as small as it should be.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { REPOSITORY, readJson, tableOf } from './repository.js';

const FOLDER = 'models/vit-cifar10/1';
const MOST_BYTES = 6e6;

interface Report {
  readonly parameters: number;
  readonly temperature: number;
  readonly heldOutAccuracy: number;
  readonly test: {
    readonly images: number;
    readonly accuracy: number;
    readonly accuracyByClass: Record<string, number>;
    readonly expectedCalibrationError: number;
    readonly confusion: readonly (readonly number[])[];
  };
}

const report = readJson<Report>(`${FOLDER}/report.json`);
const card = readFileSync(join(REPOSITORY, FOLDER, 'README.md'), 'utf8');
const percent = (share: number) => (100 * share).toFixed(1);

test('accuracy by class and in all', () => {
  const [row] = tableOf(`${FOLDER}/README.md`, 'Class');
  const shown = { ...row };
  delete shown.Class;
  const expected = Object.entries(report.test.accuracyByClass).map(([label, share]) => [
    label,
    percent(share),
  ]);
  assert.deepEqual(
    shown,
    Object.fromEntries([...expected, ['all', `**${percent(report.test.accuracy)}**`]]),
  );
});

test('confusion, whose diagonal is the accuracy', () => {
  const { confusion, images, accuracy } = report.test;
  for (const [index, label] of Object.keys(report.test.accuracyByClass).entries()) {
    assert(card.includes(`| **${label}** | ${confusion[index]?.join(' | ')} |`), label);
  }
  const right = confusion.reduce((sum, row, index) => sum + (row[index] ?? 0), 0);
  assert.equal((right / images).toFixed(4), accuracy.toFixed(4));
});

test('calibration, held-out accuracy and size', () => {
  assert(card.includes(`**${report.test.expectedCalibrationError.toFixed(4)}**`));
  assert(card.includes(`(${report.temperature.toFixed(3)}, fitted`));
  assert(card.includes(`(${percent(report.heldOutAccuracy)} %) chose`));
  assert(card.includes(`${report.parameters.toLocaleString('en')} parameters`));
});

test('the weights and the graph are small, and the graph is the one the manifest names', () => {
  for (const file of ['model.safetensors', 'model.onnx']) {
    assert(statSync(join(REPOSITORY, FOLDER, file)).size <= MOST_BYTES, file);
  }
  const { graph } = readJson<{ graph: { sha256: string } }>(`${FOLDER}/model.json`);
  const bytes = readFileSync(join(REPOSITORY, FOLDER, 'model.onnx'));
  assert.equal(createHash('sha256').update(bytes).digest('hex'), graph.sha256);
});
