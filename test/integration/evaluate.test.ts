/** `vitserve evaluate` through the built program, on images whose answers are known. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { loadModelFolder } from '#vitserve/models/repository.js';
import { loadOnnxSession } from '#vitserve/workers/inference/onnx-session.js';
import { exactPng, TEXT } from '../support/images.js';
import { MODELS, suiteScope, temporaryFolder, vitserve } from '../support/server.js';

const MODEL = join(MODELS, 'vit-cifar10/1');
const IMAGES = 12;
/** These get another label than the model's. */
const WRONG = 3;

describe('vitserve evaluate', () => {
  const scope = suiteScope();
  let data: string;
  let labels: readonly string[];

  before(async () => {
    const { manifest, graphPath } = await loadModelFolder(MODEL);
    const settings = { graphPath, manifest, provider: 'cpu', threads: 1 } as const;
    const { session } = await loadOnnxSession(settings);
    labels = manifest.labels;
    data = temporaryFolder(scope);
    for (let seed = 0; seed < IMAGES; seed++) {
      const { file, pixels } = await exactPng(seed);
      const { scores } = await session.run(pixels, 1);
      const first = scores.indexOf(Math.max(...scores));
      const label = labels[(first + (seed < WRONG ? 1 : 0)) % labels.length] as string;
      mkdirSync(join(data, label), { recursive: true });
      writeFileSync(join(data, label, `${seed}.png`), file);
    }
  });

  test('counts what is right, and compares two models', async () => {
    const own = await vitserve(scope, ['evaluate', MODEL, data]);
    assert.equal(own.code, 0, own.stderr);
    assert.match(
      own.stdout,
      /^vit-cifar10\/1 on 12 images of \d+ classes \(cpu\)\n {2}top-1 +75\.00 % /,
    );
    const both = await vitserve(scope, ['evaluate', MODEL, data, '--against', MODEL]);
    assert.match(
      both.stdout,
      /top-1 +\+0\.00 points \(± 0\.00\)\n {2}same class first in 100\.00 %/,
    );
  });

  test('gives all figures as JSON', async () => {
    const { code, stdout } = await vitserve(scope, ['evaluate', MODEL, data, '--json']);
    assert.equal(code, 0);
    const { models, comparison, skipped } = JSON.parse(stdout);
    assert.deepEqual([comparison, skipped, models.length], [null, 0, 1]);
    const [{ model, figures }] = models;
    assert.deepEqual(
      [model, figures.images, figures.right],
      ['vit-cifar10/1', IMAGES, IMAGES - WRONG],
    );
  });

  test('leaves out what is no image, and fails where nothing is left', async () => {
    const letters = temporaryFolder(scope);
    const file = join(letters, 'letter.jpg');
    writeFileSync(file, TEXT);
    writeFileSync(join(letters, 'labels.csv'), `letter.jpg,${labels[0]}\n`);
    const none = await vitserve(scope, ['evaluate', MODEL, join(letters, 'labels.csv')]);
    assert.equal(none.code, 1);
    assert.equal(
      none.stderr,
      `${file}: the image is text: send a JPEG, PNG or WebP file\n` +
        'vitserve: left out 1 of 1 images\n',
    );
    const unknown = await vitserve(scope, ['evaluate', MODEL, letters]);
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /has no folder of JPEG, PNG or WebP files/);
    const usage = await vitserve(scope, ['evaluate', MODEL]);
    assert.equal(usage.code, 2);
    assert.match(usage.stderr, /give a MODEL_FOLDER and DATA/);
  });
});
