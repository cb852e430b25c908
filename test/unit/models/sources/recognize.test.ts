/**
 * Recognition: what is found where, that flags take precedence, and that everything missing is
 * reported at once.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { COMMANDS } from '#vitserve/cli/commands.js';
import type { GraphView } from '#vitserve/models/sources/graph-view.js';
import { presetRecipe, RECIPE_PRESETS } from '#vitserve/models/sources/recipe-presets.js';
import {
  type RecognitionFlags,
  type RecognizedModel,
  recognizeModel,
} from '#vitserve/models/sources/recognize.js';
import { readSourceConfig } from '#vitserve/models/sources/source-config.js';
import { suitedProvider } from '#vitserve/models/sources/suited-provider.js';
import { REPOSITORY } from '../../../support/scope.js';
import {
  graph,
  HF_CONFIG,
  HF_PREPROCESSOR,
  LOGITS,
  NO_FLAGS,
  TIMM_CONFIG,
  value,
} from './graphs.js';

interface Beside {
  readonly config?: unknown;
  readonly preprocessor?: unknown;
}

const HF: Beside = { config: HF_CONFIG, preprocessor: HF_PREPROCESSOR };
const BARE: Partial<RecognitionFlags> = { recipe: 'torchvision', labels: ['ant', 'bee', 'cat'] };

function recognize(
  view: GraphView,
  { config, preprocessor }: Beside,
  flags: Partial<RecognitionFlags>,
) {
  const evidence = { config: readSourceConfig(config), preprocessor: preprocessor ?? null };
  return recognizeModel(view, evidence, { ...NO_FLAGS, ...flags });
}

function found(
  view: GraphView,
  beside: Beside,
  flags: Partial<RecognitionFlags> = {},
): RecognizedModel {
  const result = recognize(view, beside, flags);
  assert.ok(!('problems' in result), JSON.stringify(result));
  return result;
}

function problems(
  view: GraphView,
  beside: Beside,
  flags: Partial<RecognitionFlags> = {},
): readonly string[] {
  const result = recognize(view, beside, flags);
  assert.ok('problems' in result, 'nothing was wrong');
  return result.problems;
}

const withInput = (...dims: (number | string | null)[]) => graph({ inputs: [value('x', dims)] });
const withOutput = (...dims: (number | string | null)[]) =>
  graph({ outputs: [value('output', dims)] });

describe('exports', () => {
  test('optimum leaves the size open: it comes from config.json', () => {
    const view = graph({
      inputs: [value('pixel_values', ['batch_size', 'num_channels', 'height', 'width'])],
      outputs: [value('logits', ['batch_size', 3])],
    });
    const { input, output, labels, recipe, recipeFrom } = found(view, HF);
    assert.deepEqual(input, {
      name: 'pixel_values',
      layout: 'NCHW',
      typeName: 'float32',
      size: { height: 224, width: 224 },
    });
    assert.deepEqual(
      [output.kind, output.activation, output.activationFrom],
      ['logits', 'softmax', 'config.json'],
    );
    assert.deepEqual(labels, ['ant', 'bee', 'cat']);
    assert.deepEqual(recipe, { ...presetRecipe('hf-vit', input.size), normalizedInGraph: false });
    assert.equal(recipeFrom, 'preprocessor_config.json');
  });

  test('timm: recipe and labels of config.json, for the size of the graph', () => {
    const { recipe, labels } = found(withInput('batch', 3, 384, 384), { config: TIMM_CONFIG });
    assert.deepEqual(labels, ['ant', 'n2', 'cat']);
    assert.deepEqual(recipe.crop, { height: 384, width: 384, rounding: 'half-even' });
  });

  test('a bare graph with flags', () => {
    const { input, output, recipe } = found(withInput(1, 3, 224, 224), {}, BARE);
    assert.equal(input.name, 'x');
    assert.equal(output.activationFrom, 'assumed; --activation overrides it');
    assert.equal(recipe.normalizedInGraph, false);
    assert.deepEqual(recipe.mean, [0.485, 0.456, 0.406]);
  });

  test('a uint8 graph normalises by itself', () => {
    const view = graph({ inputs: [value('x', ['n', 224, 224, 3], 'uint8')] });
    const { input, recipe } = found(view, {}, BARE);
    assert.deepEqual([input.layout, recipe.normalizedInGraph], ['NHWC', true]);
  });

  test('one sigmoid output with two labels answers with both', () => {
    const { output, binaryClasses } = found(
      withOutput('batch'),
      {},
      { ...BARE, labels: ['no', 'yes'] },
    );
    assert.deepEqual(
      [output.rank, output.classCount, output.activation, binaryClasses],
      [1, 1, 'sigmoid', 'two'],
    );
    assert.equal(
      found(withOutput('batch', 1), {}, { ...BARE, labels: ['yes'] }).binaryClasses,
      'one',
    );
  });

  test('a final Softmax or Sigmoid is recognised', () => {
    for (const [operator, activation] of [
      ['Softmax', 'softmax'],
      ['Sigmoid', 'sigmoid'],
    ] as const) {
      const { output } = found(graph({ lastOperators: new Map([['output', operator]]) }), {}, BARE);
      assert.deepEqual([output.kind, output.activation], ['probabilities', activation]);
    }
  });

  test('flags override files', () => {
    const flags = {
      recipe: 'hf-deit',
      mean: [0.1, 0.2, 0.3],
      std: [1, 1, 1],
      labels: 'none',
      activation: 'sigmoid',
    } as const;
    const { recipe, labels, output, recipeFrom } = found(graph(), HF, flags);
    assert.equal(recipe.interpolation, 'bicubic');
    assert.deepEqual([recipe.mean, recipe.std], [flags.mean, flags.std]);
    assert.deepEqual(labels, ['class 0', 'class 1', 'class 2']);
    assert.equal(output.activation, 'sigmoid');
    assert.equal(recipeFrom, '--recipe hf-deit, --mean, --std');
  });
});

describe('layouts', () => {
  const layoutOf = (view: GraphView, flags: Partial<RecognitionFlags> = {}) =>
    found(view, {}, { ...BARE, inputSize: { height: 224, width: 224 }, ...flags }).input.layout;

  test('by the axis of three, or the one called channels', () => {
    assert.equal(layoutOf(withInput('n', 3, 'h', 'w')), 'NCHW');
    assert.equal(layoutOf(withInput('n', 'h', 'w', 3)), 'NHWC');
    assert.equal(layoutOf(withInput('n', 'h', 'w', 'channels')), 'NHWC');
  });

  test('by --layout if the shape leaves it open', () => {
    assert.equal(layoutOf(withInput(null, null, null, null), { layout: 'NHWC' }), 'NHWC');
    const view = graph({ inputs: [value('x', null)] });
    assert.equal(layoutOf(view, { layout: 'NCHW' }), 'NCHW');
  });

  test('a flag against the shape is rejected', () => {
    assert.match(
      problems(graph(), {}, { ...BARE, layout: 'NHWC' })[0] ?? '',
      /which can't be NHWC/,
    );
  });
});

describe('missing facts', () => {
  test('are reported all at once, each with its flag', () => {
    assert.deepEqual(problems(withInput(null, null, null, null), {}), [
      'input "x" is float32 [?, ?, ?, ?], and nothing says where the colours are: give --layout, such as --layout NCHW',
      'input "x" is float32 [?, ?, ?, ?], and nothing says its height and width: give --input-size, such as --input-size 224',
      'no labels: name the 3 classes with --labels FILE (one per line, or JSON), or give --labels none for "class 0", "class 1"…',
      'no preprocessing recipe: choose one with --recipe, such as --recipe timm (hf-vit, hf-deit, timm, torchvision, torchvision-swag)',
    ]);
  });

  test('an unknown size', () => {
    assert.deepEqual(problems(withInput('n', 3, 'h', 'w'), {}, BARE), [
      'input "x" is float32 [n, 3, h, w], and nothing says its height and width: give --input-size, such as --input-size 224',
    ]);
  });

  test('an unknown shape needs layout and size', () => {
    const lines = problems(graph({ inputs: [value('x', null)] }), {}, BARE);
    assert.deepEqual(
      lines.map((line) => line.match(/give --\S+|with --\S+/)?.[0]),
      ['give --layout,', 'give --input-size,'],
    );
  });
});

describe('a graph that cannot be served is rejected by name', () => {
  const ids = value('input_ids', ['batch', 'tokens'], 'int64');
  const refusals: [
    what: string,
    view: GraphView,
    flags: Partial<RecognitionFlags>,
    line: RegExp,
  ][] = [
    [
      'several inputs',
      graph({ inputs: [LOGITS, ids] }),
      BARE,
      /^the graph has 2 inputs \(output, input_ids\): export it with one, for the image$/,
    ],
    ['no input', graph({ inputs: [] }), BARE, /^the graph has no input$/],
    [
      'an input that is not an image',
      graph({ inputs: [ids] }),
      BARE,
      /^input "input_ids" is int64 \[batch, tokens\]: .* four axes/,
    ],
    ['grey images', withInput('n', 1, 28, 28), BARE, /three channels/],
    [
      'an element type',
      graph({ inputs: [value('x', ['n', 3, 9, 9], 'int32')] }),
      BARE,
      /^input "x" is int32 .* export it as float32, float16 or uint8$/,
    ],
    ['a sequence', withOutput('batch', 197, 768), BARE, /a sequence, with one vector per patch/],
    ['a map', withOutput('batch', 21, 224, 224), BARE, /that is a map/],
    ['one value a batch', withOutput(), BARE, /one value for the whole batch/],
    [
      'class numbers',
      graph({ outputs: [value('output', ['batch', 3], 'int64')] }),
      BARE,
      /export it as float32 or float16/,
    ],
    [
      'several outputs',
      graph({ outputs: [value('a', ['n', 3]), value('b', ['n', 3])] }),
      BARE,
      /2 outputs \(a, b\): .* --output a$/,
    ],
    [
      'an output that is not there',
      graph(),
      { ...BARE, output: 'y' },
      /^--output y: the graph has no such output: give one of output$/,
    ],
    [
      'wrong labels',
      graph(),
      { ...BARE, labels: ['ant'] },
      /^--labels has 1 labels, but the graph has 3 classes/,
    ],
    [
      'no labels for an open number of classes',
      withOutput('n', 'c'),
      { ...BARE, labels: 'none' },
      /does not say how many classes/,
    ],
    [
      'another activation than the graph has',
      graph({ lastOperators: new Map([['output', 'Softmax']]) }),
      { ...BARE, activation: 'sigmoid' },
      /already ends in Softmax/,
    ],
    [
      'another size than the graph has',
      graph(),
      { ...BARE, inputSize: { height: 96, width: 96 } },
      /^--input-size 96x96 does not fit/,
    ],
    ['enormous pictures', withInput('n', 3, 8192, 8192), BARE, /at most 4096 pixels a side/],
  ];
  for (const [what, view, flags, line] of refusals) {
    test(what, () => {
      const lines = problems(view, {}, flags);
      assert.equal(lines.length, 1, lines.join('\n'));
      assert.match(lines[0] ?? '', line);
    });
  }

  test('a recipe of another size than the graph', () => {
    assert.match(
      problems(withInput('n', 3, 384, 384), HF)[0] ?? '',
      /makes 224 × 224 pixels, but input "x" is 384 × 384/,
    );
  });

  test('a recipe that cannot be expressed, in the words of its reader', () => {
    const preprocessor = { ...HF_PREPROCESSOR, image_processor_type: 'SegformerImageProcessor' };
    assert.match(problems(graph(), { ...HF, preprocessor })[0] ?? '', /SegformerImageProcessor/);
  });
});

describe('recipes by name', () => {
  for (const preset of RECIPE_PRESETS) {
    test(`${preset} is the one that the reference checks`, () => {
      const path = join(REPOSITORY, `tools/reference/recipes/${preset}.json`);
      const proved = JSON.parse(readFileSync(path, 'utf8')) as { crop: object | null };
      const side = preset === 'torchvision-swag' ? 384 : 224;
      assert.deepEqual(presetRecipe(preset, { height: side, width: side }), proved);
    });
  }

  test('at other sizes the resize scales', () => {
    const side = { height: 384, width: 384 };
    assert.deepEqual(presetRecipe('timm', side).resize, { mode: 'shortest-edge', size: 426 });
    assert.deepEqual(presetRecipe('hf-deit', side).resize, {
      mode: 'squash',
      height: 438,
      width: 438,
    });
  });

  test('the option offers these', () => {
    const row = COMMANDS.import.options.find(({ name }) => name === 'recipe');
    assert.equal(row?.type.placeholder.split('|').sort().join(), [...RECIPE_PRESETS].sort().join());
  });
});

test('which execution provider a graph is for', () => {
  assert.equal(suitedProvider(graph()), null);
  const quantized = suitedProvider(
    graph({ operators: new Set(['DynamicQuantizeLinear', 'MatMulInteger']) }),
  );
  assert.equal(quantized?.provider, 'cpu');
  assert.match(quantized?.warning ?? '', /CUDA has no kernels/);
  assert.equal(
    suitedProvider(graph({ weightTypes: new Set(['float16', 'int64']) }))?.provider,
    'cuda',
  );
});
