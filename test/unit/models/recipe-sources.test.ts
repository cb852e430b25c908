/**
 * Preprocessing as Hugging Face and timm describe it, as recipes; and what is rejected, by name.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import {
  recipeForSize,
  recipeFromHuggingFace,
  recipeFromTimm,
} from '#vitserve/models/recipe-sources.js';

const SIZE = { height: 224, width: 224 };
const HALF = [0.5, 0.5, 0.5];
const SQUASHED = { mode: 'squash', height: 224, width: 224 };
const hf = (config: unknown) => recipeFromHuggingFace(config, SIZE);

function refusal(make: () => unknown): readonly string[] {
  try {
    make();
  } catch (error) {
    assert.ok(error instanceof SetupError, String(error));
    return error.problems;
  }
  return assert.fail('accepted');
}

describe('a Hugging Face processor', () => {
  test('of ViT squashes, bilinear, and takes values to −1 … 1', () => {
    assert.deepEqual(
      hf({ image_processor_type: 'ViTImageProcessor', size: { height: 384, width: 256 } }),
      {
        resize: { mode: 'squash', height: 384, width: 256 },
        interpolation: 'bilinear',
        crop: null,
        rescale: 1 / 255,
        mean: HALF,
        std: HALF,
        normalizedInGraph: true,
      },
    );
  });

  test('of DeiT squashes to 256, bicubic, and crops', () => {
    const recipe = hf({
      feature_extractor_type: 'DeiTFeatureExtractor',
      size: 256,
      crop_size: 224,
      resample: 3,
    });
    assert.deepEqual(recipe.resize, { mode: 'squash', height: 256, width: 256 });
    assert.deepEqual(recipe.crop, { ...SIZE, rounding: 'floor' });
    assert.equal(recipe.interpolation, 'bicubic');
    assert.deepEqual(hf({ image_processor_type: 'DeiTImageProcessorFast' }), recipe);
  });

  test('that does not crop, though its class does, says so', () => {
    const config = { image_processor_type: 'DeiTImageProcessor', do_center_crop: false, size: 224 };
    assert.equal(hf(config).crop, null);
    assert.deepEqual(hf(config).resize, SQUASHED);
  });

  for (const [what, size, resize] of [
    ['a whole number is a square', 224, SQUASHED],
    ['a pair is height and width', [192, 256], { mode: 'squash', height: 192, width: 256 }],
    [
      'height and width are those',
      { height: 192, width: 256 },
      { mode: 'squash', height: 192, width: 256 },
    ],
    ['none is the size of the model', undefined, SQUASHED],
  ] as const) {
    test(`size of ViT: ${what}`, () => assert.deepEqual(hf({ size }).resize, resize));
  }

  for (const [what, size, edge] of [
    ['a whole number', 256, 256],
    ['shortest_edge', { shortest_edge: 240 }, 240],
    ['none', undefined, 224],
  ] as const) {
    test(`size of CLIP and BiT: ${what} is the shortest edge`, () => {
      for (const type of ['CLIPImageProcessor', 'BitImageProcessor']) {
        const recipe = hf({ image_processor_type: type, size });
        assert.deepEqual(recipe.resize, { mode: 'shortest-edge', size: edge });
        assert.deepEqual(recipe.crop, { ...SIZE, rounding: 'floor' });
      }
    });
  }

  test('names its filter by a code of PIL, or by its name', () => {
    const filters = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'];
    for (const [code, name] of filters.entries()) {
      assert.equal(hf({ resample: code }).interpolation, name);
      assert.equal(hf({ resample: name }).interpolation, name);
    }
  });

  test('that does not rescale or normalise leaves the values unchanged', () => {
    const bare = hf({ do_rescale: false, do_normalize: false, image_mean: HALF, image_std: HALF });
    assert.deepEqual([bare.rescale, bare.mean, bare.std], [1, [0, 0, 0], [1, 1, 1]]);
    const unscaled = hf({ do_rescale: false, image_mean: [127, 128, 129], image_std: [1, 2, 3] });
    assert.deepEqual(
      [unscaled.rescale, unscaled.mean, unscaled.std],
      [1, [127, 128, 129], [1, 2, 3]],
    );
    const scaled = hf({ rescale_factor: 0.5, do_normalize: false });
    assert.deepEqual([scaled.rescale, scaled.mean], [0.5, [0, 0, 0]]);
  });

  test('with what a recipe cannot express is rejected, all at once', () => {
    const config = {
      do_pad: true,
      size: { longest_edge: 3 },
      resample: 9,
      image_mean: [1],
      image_std: 'x',
    };
    const problems = refusal(() => hf(config));
    for (const key of ['do_pad', 'size', 'resample', 'image_mean', 'image_std']) {
      assert.ok(
        problems.some((problem) => problem.startsWith(`preprocessor_config.json: ${key} `)),
        key,
      );
    }
  });

  test('of another model, without a fixed size, or that is not an object is rejected', () => {
    assert.match(
      String(refusal(() => hf({ image_processor_type: 'DonutImageProcessor' }))),
      /DonutImageProcessor/,
    );
    assert.match(String(refusal(() => hf({ size: { shortest_edge: 256 } }))), /vary in size/);
    assert.match(String(refusal(() => hf({ do_resize: false }))), /vary in size/);
    assert.match(String(refusal(() => hf([]))), /not a JSON object/);
  });
});

describe('a pretrained_cfg of timm', () => {
  const augreg = {
    input_size: [3, 224, 224],
    crop_pct: 0.9,
    interpolation: 'bicubic',
    mean: HALF,
    std: HALF,
  };

  test('resizes the shortest edge to ⌊size / crop_pct⌋ and crops', () => {
    assert.deepEqual(recipeFromTimm(augreg), {
      resize: { mode: 'shortest-edge', size: 248 },
      interpolation: 'bicubic',
      crop: { ...SIZE, rounding: 'half-even' },
      rescale: 1 / 255,
      mean: HALF,
      std: HALF,
      normalizedInGraph: true,
    });
    const large = recipeFromTimm({
      ...augreg,
      input_size: [3, 384, 384],
      crop_pct: 1.0,
      crop_mode: 'center',
    });
    assert.deepEqual(large.resize, { mode: 'shortest-edge', size: 384 });
  });

  test('with crop_mode squash squashes first', () => {
    const recipe = recipeFromTimm({ ...augreg, input_size: [3, 224, 448], crop_mode: 'squash' });
    assert.deepEqual(recipe.resize, { mode: 'squash', height: 248, width: 497 });
    assert.deepEqual(recipe.crop, { height: 224, width: 448, rounding: 'half-even' });
  });

  test('with gaps has the defaults of timm', () => {
    const recipe = recipeFromTimm({});
    assert.deepEqual(recipe.resize, { mode: 'shortest-edge', size: 256 });
    assert.deepEqual(
      [recipe.mean, recipe.std],
      [
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
      ],
    );
    assert.equal(recipe.interpolation, 'bicubic');
  });

  test('with what a recipe cannot express is rejected', () => {
    assert.match(
      String(refusal(() => recipeFromTimm({ ...augreg, crop_mode: 'border' }))),
      /crop_mode "border"/,
    );
    assert.match(
      String(refusal(() => recipeFromTimm({ ...augreg, input_size: [3, 224, 256] }))),
      /224 × 256/,
    );
    assert.match(
      String(refusal(() => recipeFromTimm({ ...augreg, input_size: [1, 28, 28] }))),
      /input_size/,
    );
    assert.match(
      String(refusal(() => recipeFromTimm({ ...augreg, interpolation: 'random' }))),
      /random/,
    );
  });
});

test('a recipe for another size keeps the margin that is cropped away', () => {
  const larger = { height: 384, width: 384 };
  const squash = recipeForSize(hf({}), larger);
  assert.deepEqual([squash.resize, squash.crop], [{ mode: 'squash', ...larger }, null]);
  const deit = recipeForSize(hf({ image_processor_type: 'DeiTImageProcessor' }), larger);
  assert.deepEqual(deit.resize, { mode: 'squash', height: 438, width: 438 });
  assert.deepEqual(deit.crop, { ...larger, rounding: 'floor' });
  const timm = recipeForSize(recipeFromTimm({ crop_pct: 0.875 }), { height: 448, width: 448 });
  assert.deepEqual(timm.resize, { mode: 'shortest-edge', size: 512 });
});
