/**
 * What preparing changes, what it keeps, and what it rejects. A test with onnxruntime checks that
 * answers stay the same.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { int, ints, nodeOf, valueInfoOf } from '#vitserve/onnx/graph/build.js';
import { checkGraph } from '#vitserve/onnx/graph/check.js';
import { describeGraph } from '#vitserve/onnx/graph/graph.js';
import { type PrepareOptions, prepareGraph } from '#vitserve/onnx/passes/prepare.js';
import { encodeModel } from '#vitserve/onnx/proto/codec.js';
import { DataType, type ModelProto } from '#vitserve/onnx/proto/model-proto.js';
import { float32Tensor, floatsOf, int64Tensor, intsOf } from '#vitserve/onnx/proto/tensors.js';
import { PLAIN, TINY, tinyVit } from '../../../support/tiny-vit.js';

const { size, width, classes } = TINY;

const OPTIONS: PrepareOptions = {
  input: { name: 'image', layout: 'NCHW', height: size, width: size },
  normalization: { rescale: 1 / 255, mean: [0.5, 0.4, 0.3], std: [0.5, 0.25, 0.125] },
  output: { name: 'logits', activation: 'softmax', kind: 'logits' },
  embedding: 'find',
};

function initializerOf({ initializer }: ModelProto['graph'], name: string): number[] | undefined {
  const found = initializer.find((one) => one.name === name);
  return found && intsOf(found);
}

function operators({ graph }: ModelProto): string[] {
  return graph.node.map(({ opType }) => opType);
}

describe('preparing', () => {
  test('leaves the given model unchanged', () => {
    for (const batch of ['symbolic', 1] as const) {
      const model = tinyVit({ ...PLAIN, batch });
      const before = encodeModel(model);
      prepareGraph(model, OPTIONS);
      assert.deepEqual(encodeModel(model), before);
    }
  });

  test('puts two nodes in front and one behind, and folds the normalization', () => {
    const model = tinyVit(PLAIN);
    const prepared = prepareGraph(model, OPTIONS);
    assert.deepEqual(operators(prepared.model), [
      'Transpose',
      'Cast',
      ...operators(model),
      'Softmax',
    ]);
    const conv = prepared.model.graph.node.find(({ opType }) => opType === 'Conv');
    const constant = (name = '') => {
      const found = prepared.model.graph.initializer.find((one) => one.name === name);
      assert.ok(found !== undefined, name);
      return floatsOf(found);
    };
    const [before, bias] = model.graph.initializer;
    assert.ok(before !== undefined && bias !== undefined);
    const old = floatsOf(before);
    const channels = [0.5, 0.25, 0.125].flatMap((std) => Array<number>(16).fill(1 / 255 / std));
    const expected = old.map((weight, at) => weight * (channels[at % 48] ?? 0));
    assert.deepEqual(constant(conv?.input[1]), expected);
    // A black picture is −mean/std everywhere.
    let black = floatsOf(bias)[0] ?? 0;
    for (const [channel, value] of [-1, -1.6, -2.4].entries()) {
      for (let tap = 0; tap < 16; tap++) black += (old[channel * 16 + tap] ?? 0) * value;
    }
    assert.ok(Math.abs((constant(conv?.input[2])[0] ?? 0) - black) < 1e-6);
    const names = prepared.model.graph.initializer.map(({ name }) => name);
    assert.ok(!names.includes('patch.weight'), 'the old weights are gone');
  });

  test('folds under padding too if there is no mean, which zeros would misrepresent', () => {
    const padded = tinyVit({ ...PLAIN, padded: true });
    assert.equal(prepareGraph(padded, OPTIONS).foldedNormalization, false);
    const normalization = { rescale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] };
    assert.equal(prepareGraph(padded, { ...OPTIONS, normalization }).foldedNormalization, true);
  });

  test('does not fold if another node takes the pixels', () => {
    const model = tinyVit(PLAIN);
    model.graph.node.push(
      nodeOf('ReduceMean', ['image'], ['brightness']),
      nodeOf('Add', ['logits', 'brightness'], ['brighter']),
    );
    model.graph.output = [valueInfoOf('brighter', DataType.FLOAT, ['n', classes])];
    const prepared = prepareGraph(model, {
      ...OPTIONS,
      output: { ...OPTIONS.output, name: 'brighter' },
    });
    assert.equal(prepared.foldedNormalization, false);
    assert.deepEqual(operators(prepared.model).slice(0, 4), ['Transpose', 'Cast', 'Mul', 'Add']);
    assert.match(prepared.notes.join('\n'), /nodes in front of the graph: 2 nodes take the pixels/);
  });

  test('normalizes nothing if the graph does it', () => {
    const prepared = prepareGraph(tinyVit(PLAIN), { ...OPTIONS, normalization: null });
    assert.equal(prepared.foldedNormalization, false);
    assert.ok(prepared.model.graph.initializer.some(({ name }) => name === 'patch.weight'));
    assert.deepEqual(operators(prepared.model).slice(0, 3), ['Transpose', 'Cast', 'Conv']);
  });

  test('finds the representation behind logits[:, 0], but not among patches', () => {
    const model = tinyVit(PLAIN);
    model.graph.node.push(
      nodeOf('Gather', ['logits', 'class_index'], ['first'], { attributes: { axis: int(1) } }),
    );
    model.graph.output = [valueInfoOf('first', DataType.FLOAT, ['n'])];
    const output = { name: 'first', activation: 'sigmoid', kind: 'logits' } as const;
    assert.equal(prepareGraph(model, { ...OPTIONS, output }).embeddingSize, width);
    const patches = tinyVit(PLAIN);
    patches.graph.initializer.push(
      float32Tensor('every.weight', [width, 2], new Float32Array(2 * width)),
    );
    for (const [name, value] of Object.entries({ from: 0, to: 1, axis: 1 })) {
      patches.graph.initializer.push(int64Tensor(name, [1], [value]));
    }
    patches.graph.node.push(
      nodeOf('MatMul', ['norm2', 'every.weight'], ['every']),
      nodeOf('Slice', ['every', 'from', 'to', 'axis'], ['one']),
      nodeOf('Squeeze', ['one', 'axis'], ['answer']),
    );
    patches.graph.output = [valueInfoOf('answer', DataType.FLOAT, ['n', 2])];
    const prepared = prepareGraph(patches, {
      ...OPTIONS,
      output: { ...OPTIONS.output, name: 'answer' },
    });
    assert.equal(prepared.embeddingSize, null);
    assert.match(
      prepared.notes.join(),
      /"norm2" before the last linear layer is \[1,5,8\], not one vector per image/,
    );
  });

  describe('computes the nodes after the last attention only for the token that is taken', () => {
    const chosen = (model: ModelProto) => {
      const { notes, model: after } = prepareGraph(model, OPTIONS);
      assert.deepEqual(checkGraph(after), []);
      const slices = after.graph.node
        .filter(({ opType }) => opType === 'Slice')
        .map(({ input }) => input[0]);
      assert.equal(/only for the token/.test(notes.join()), slices.length > 0);
      return slices;
    };

    test('with LayerNorm as an operator or spelled out', () => {
      for (const mlp of ['fused', 'spelled'] as const) {
        assert.deepEqual(chosen(tinyVit({ ...PLAIN, mlp })), ['embedded', 'joined']);
      }
    });

    test('but not without a product there, or if all tokens are needed elsewhere', () => {
      assert.deepEqual(chosen(tinyVit(PLAIN)), []);
      const pooled = tinyVit({ ...PLAIN, mlp: 'fused' });
      const { node } = pooled.graph;
      const head = node.findIndex(({ opType }) => opType === 'Gemm');
      node.splice(
        head,
        0,
        nodeOf('ReduceMean', ['norm2'], ['mean'], {
          attributes: { axes: ints([1]), keepdims: int(0) },
        }),
        nodeOf('Add', ['representation', 'mean'], ['both']),
      );
      const gemm = node[head + 2];
      if (gemm !== undefined) gemm.input[0] = 'both';
      assert.deepEqual(chosen(pooled), []);
    });

    test('for another token than the first too, also counted from the end', () => {
      for (const token of [3, -2]) {
        const model = tinyVit({ ...PLAIN, mlp: 'fused' });
        const { initializer } = model.graph;
        initializer[initializer.findIndex(({ name }) => name === 'class_index')] = int64Tensor(
          'class_index',
          [],
          [token],
        );
        const { graph } = prepareGraph(model, OPTIONS).model;
        const slice = graph.node.find(({ opType }) => opType === 'Slice');
        const bounds = slice?.input.slice(1).map((name) => initializerOf(graph, name));
        assert.deepEqual(bounds, [[3], [4], [1]]);
      }
    });
  });

  test('of a prepared graph changes only names', () => {
    const once = prepareGraph(tinyVit(PLAIN), OPTIONS);
    const twice = prepareGraph(once.model, {
      input: { name: 'pixels', layout: 'NHWC', height: size, width: size },
      normalization: null,
      output: { name: 'probabilities', activation: 'softmax', kind: 'probabilities' },
      embedding: 'find',
    });
    assert.deepEqual(operators(twice.model), operators(once.model));
    assert.deepEqual(describeGraph(twice.model), describeGraph(once.model));
    assert.equal(twice.embeddingSize, width);
  });

  test('gives the requested names, even if the graph has them already', () => {
    const names = { inputName: 'grid', outputName: 'sequence', embeddingName: 'class_token' };
    const { model } = prepareGraph(tinyVit(PLAIN), { ...OPTIONS, ...names });
    const { inputs, outputs } = describeGraph(model);
    assert.deepEqual(
      [...inputs, ...outputs].map(({ name }) => name),
      ['grid', 'sequence', 'class_token'],
    );
  });

  test('removes outputs that are not requested and what only they need', () => {
    const model = tinyVit(PLAIN);
    model.graph.initializer.push(
      float32Tensor('aside.weight', [width, 2], new Float32Array(2 * width)),
    );
    model.graph.node.push(nodeOf('MatMul', ['representation', 'aside.weight'], ['aside']));
    model.graph.output.push(valueInfoOf('aside', DataType.FLOAT, ['n', 2]));
    const prepared = prepareGraph(model, { ...OPTIONS, embedding: 'none' });
    assert.deepEqual(
      describeGraph(prepared.model).outputs.map(({ name }) => name),
      ['probabilities'],
    );
    assert.ok(
      !operators(prepared.model).includes('MatMul') ||
        !prepared.model.graph.initializer.some(({ name }) => name === 'aside.weight'),
    );
    assert.match(prepared.notes.join('\n'), /other outputs were removed: "aside"/);
  });
});

describe('an input that cannot be prepared is rejected by name', () => {
  const broken = (change: (model: ModelProto) => void) => {
    const model = tinyVit(PLAIN);
    change(model);
    return model;
  };
  const input = (dataType: number, dims: (number | string | null)[]) =>
    broken(({ graph }) => {
      graph.input = [valueInfoOf('image', dataType, dims)];
    });
  const REFUSED: readonly [
    what: string,
    model: ModelProto,
    options: Partial<PrepareOptions>,
    problem: RegExp,
  ][] = [
    [
      'an input that is not there',
      tinyVit(PLAIN),
      { input: { ...OPTIONS.input, name: 'picture' } },
      /^the graph has no input "picture": its inputs are "image"$/,
    ],
    [
      'an output that is not there',
      tinyVit(PLAIN),
      { output: { ...OPTIONS.output, name: 'scores' } },
      /^the graph has no output "scores": its outputs are "logits"$/,
    ],
    [
      'another layout',
      tinyVit(PLAIN),
      { input: { ...OPTIONS.input, layout: 'NHWC' } },
      /^input "image" is \[n, 3, 8, 8\], but NHWC pixels of 8 × 8 are \[batch, 8, 8, 3\]$/,
    ],
    [
      'another size',
      tinyVit(PLAIN),
      { input: { ...OPTIONS.input, height: 16 } },
      /^input "image" is \[n, 3, 8, 8\], but NCHW pixels of 16 × 8 are \[batch, 3, 16, 8\]$/,
    ],
    [
      'another type',
      input(DataType.INT64, ['n', 3, 8, 8]),
      {},
      /^input "image" is int64: export the graph with float32, float16 or uint8 pixels$/,
    ],
    [
      'bytes that are to be normalised',
      input(DataType.UINT8, ['n', 3, 8, 8]),
      {},
      /^input "image" takes uint8, but normalized pixels are floats/,
    ],
    [
      'a second input',
      broken(({ graph }) => graph.input.push(valueInfoOf('mask', DataType.FLOAT, ['n']))),
      {},
      /^the graph takes more than pixels \("mask"\): export it with the image as its only input$/,
    ],
    [
      'an old operator set',
      broken((model) => {
        model.opsetImport = [{ domain: '', version: 6 }];
      }),
      {},
      /^the graph uses an operator set before 7: export it again with a later one$/,
    ],
    [
      'a graph that does not hang together',
      broken(({ graph }) => graph.node.pop()),
      {},
      /^graph output "logits" is made by no node$/,
    ],
    [
      'softmax called logits',
      tinyVit({ ...PLAIN, head: 'softmax' }),
      { output: { ...OPTIONS.output, name: 'answer' } },
      /^output "answer" is made by node Softmax "answer", so its values are probabilities and not logits$/,
    ],
    [
      'softmax of one number',
      tinyVit({ ...PLAIN, head: 'binary' }),
      { output: { ...OPTIONS.output, name: 'answer' } },
      /^output "answer" is \[batch\], one number per image, which softmax would turn into 1: its activation must be sigmoid$/,
    ],
    [
      'two classes of five',
      tinyVit(PLAIN),
      { output: { ...OPTIONS.output, activation: 'sigmoid', binaryClasses: 'two' } },
      /^output "logits" is \[n, 5\], which can't become two classes: only one probability can$/,
    ],
    [
      'an answer for every patch',
      broken(({ graph }) => {
        graph.output = [valueInfoOf('norm2', DataType.FLOAT, ['n', 5, width])];
      }),
      { output: { ...OPTIONS.output, name: 'norm2' } },
      /^output "norm2" is \[n, 5, 8\], but a classifier's output is \[batch, classes\]$/,
    ],
    [
      'whole numbers',
      broken(({ graph }) => {
        graph.output = [valueInfoOf('token_shape', DataType.INT64, [3, 1])];
      }),
      { output: { ...OPTIONS.output, name: 'token_shape' } },
      /^output "token_shape" is int64: give an output with one floating-point number per class$/,
    ],
  ];
  for (const [what, model, options, problem] of REFUSED) {
    test(what, () => {
      assert.throws(
        () => prepareGraph(model, { ...OPTIONS, ...options }),
        (error) => {
          assert.ok(error instanceof SetupError, String(error));
          assert.match(error.message, problem);
          return true;
        },
      );
    });
  }

  test("an input's problems are reported all at once", () => {
    const model = input(DataType.INT64, ['n', 3, 9, 9]);
    model.graph.input.push(valueInfoOf('mask', DataType.FLOAT, ['n']));
    assert.throws(
      () => prepareGraph(model, OPTIONS),
      (error) => error instanceof SetupError && error.problems.length === 3,
    );
  });
});
