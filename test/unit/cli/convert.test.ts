/**
 * The settings of `vitserve convert`: a checkpoint or random weights, and a place for the model.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadConvertSettings } from '#vitserve/cli/load.js';
import { SetupError } from '#vitserve/errors.js';

function refusal(...argv: string[]): readonly string[] {
  try {
    loadConvertSettings(argv, {});
  } catch (error) {
    assert.ok(error instanceof SetupError && error.kind === 'usage', String(error));
    return error.problems;
  }
  return assert.fail('accepted');
}

describe('the settings of a conversion', () => {
  test('are a checkpoint, and what it becomes', () => {
    const { settings, source } = loadConvertSettings(
      ['vit', '--image-size', '384', '--dtype', 'float16', '--target=cuda'],
      {},
    );
    assert.equal(source, 'vit');
    assert.deepEqual(
      [settings.imageSize, settings.dtype, settings.target],
      [{ height: 384, width: 384 }, 'float16', 'cuda'],
    );
    assert.deepEqual([settings.version, settings.out, settings.random], ['auto', null, null]);
  });

  test('are random weights, of no checkpoint', () => {
    const { settings, source } = loadConvertSettings(
      ['--random', 'B/16', '--image-size', '224x320'],
      {},
    );
    assert.deepEqual(
      [source, settings.random, settings.imageSize],
      [null, 'B/16', { height: 224, width: 320 }],
    );
  });

  for (const [argv, wanted] of [
    [[], /give one FOLDER or FILE/],
    [['a', 'b'], /give one FOLDER or FILE/],
    [['a', '--random', 'B/16'], /random makes a model without a checkpoint/],
    [['a', '--classes', '5'], /classes needs random/],
    [['a', '--seed', '5'], /seed needs random/],
    [['--random', 'B/16', '--labels', 'none'], /labels needs a checkpoint/],
    [['--random', 'B/16', '--recipe', 'timm'], /recipe needs a checkpoint/],
    [['a', '--out', 'm/1', '--name', 'm'], /out already says name and version/],
    [['a', '--out', 'm/1', '--version', '2'], /out already says name and version/],
    [['a', '--image-size', '0'], /--image-size: invalid value "0"/],
    [['a', '--dtype', 'int8'], /--dtype: invalid value "int8"/],
  ] as const) {
    test(`${argv.join(' ') || 'nothing'} is rejected`, () =>
      assert.match(refusal(...argv).join('\n'), wanted));
  }
});
