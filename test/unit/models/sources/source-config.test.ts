/** What config.json says, by library, and that a file of another kind says nothing. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseLabels, plainLabels } from '#vitserve/models/sources/label-file.js';
import { licenseOfCard, readSourceConfig } from '#vitserve/models/sources/source-config.js';
import { HF_CONFIG, TIMM_CONFIG } from './graphs.js';

describe('config.json', () => {
  test('of Hugging Face', () => {
    assert.deepEqual(readSourceConfig(HF_CONFIG), {
      library: 'hugging-face',
      architecture: 'ViTForImageClassification',
      imageSize: { height: 224, width: 224 },
      labels: ['ant', 'bee', 'cat'],
      activation: 'softmax',
      pretrainedCfg: null,
      license: null,
    });
  });

  test('of Hugging Face, several labels an image and a size of two sides', () => {
    const config = readSourceConfig({
      ...HF_CONFIG,
      problem_type: 'multi_label_classification',
      image_size: [96, 160],
    });
    assert.equal(config?.activation, 'sigmoid');
    assert.deepEqual(config?.imageSize, { height: 96, width: 160 });
  });

  test('placeholders and gaps do not count as labels', () => {
    for (const id2label of [
      { 0: 'LABEL_0', 1: 'LABEL_1' },
      { 0: 'ant', 2: 'cat' },
      {},
      ['ant'],
      { 0: 7 },
    ]) {
      assert.equal(
        readSourceConfig({ ...HF_CONFIG, id2label })?.labels,
        null,
        JSON.stringify(id2label),
      );
    }
  });

  test('of timm: names are explained if there are explanations', () => {
    const config = readSourceConfig(TIMM_CONFIG);
    assert.equal(config?.library, 'timm');
    assert.deepEqual(config?.labels, ['ant', 'n2', 'cat']);
    assert.deepEqual(config?.imageSize, { height: 224, width: 224 });
    assert.equal(config?.license, 'apache-2.0');
    assert.deepEqual(config?.pretrainedCfg, TIMM_CONFIG.pretrained_cfg);
  });

  test('of something else is not taken for a model', () => {
    for (const json of [null, [], 'text', { address: '0.0.0.0:1' }])
      assert.equal(readSourceConfig(json), null);
  });
});

test('the licence comes from the front matter of a model card, and only from there', () => {
  assert.equal(licenseOfCard('---\ntags: [vit]\nlicense: apache-2.0\n---\n# Model'), 'apache-2.0');
  assert.equal(licenseOfCard('---\nlicense: "cc-by-4.0"\n---\n'), 'cc-by-4.0');
  assert.equal(licenseOfCard('# Model\nlicense: none\n'), null);
});

describe('a file of labels', () => {
  test('one a line, a list, an object by index, and that of Keras', () => {
    for (const text of [
      'ant\nbee\n\n',
      '\uFEFFant\r\nbee\r\n',
      '["ant", "bee"]',
      '{"1": "bee", "0": "ant"}',
      '{"0": ["n01", "ant"], "1": ["n02", "bee"]}',
    ]) {
      assert.deepEqual(parseLabels(text), { labels: ['ant', 'bee'] }, text);
    }
  });

  test('problems of a file', () => {
    assert.deepEqual(parseLabels('\n'), { problem: 'it has no labels' });
    assert.deepEqual(parseLabels('[]'), { problem: 'it has no labels' });
    assert.deepEqual(parseLabels('ant\n\nbee'), { problem: 'class 1 has no name' });
    assert.deepEqual(parseLabels('{"0": "ant", "2": "cat"}'), { problem: 'class 1 has no name' });
    assert.deepEqual(parseLabels('["ant"'), { problem: 'it looks like JSON but is not valid' });
  });

  test('none: numbers', () => {
    assert.deepEqual(plainLabels(2), ['class 0', 'class 1']);
  });
});
