/**
 * What becomes int8, what stays, and the graph that results. test/integration checks that it
 * computes the same.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { float, int, tensor } from '#vitserve/onnx/graph/build.js';
import { checkGraph } from '#vitserve/onnx/graph/check.js';
import { GraphBuilder } from '#vitserve/onnx/graph/graph-builder.js';
import { quantizeToInt8 } from '#vitserve/onnx/passes/quantize.js';
import { weightBitsOf } from '#vitserve/onnx/passes/weight-bits.js';
import { DataType, type ModelProto } from '#vitserve/onnx/proto/model-proto.js';
import { float16Tensor, floatsOf, int8Tensor, intsOf } from '#vitserve/onnx/proto/tensors.js';

const EYE = Float32Array.of(1, 0, 0, 1);

/** x → q, k, v (three products of one activation) → attention → head. */
function attention(): ModelProto {
  const graph = new GraphBuilder();
  graph.input('x', DataType.FLOAT, ['batch', 3, 2]);
  const part = (name: string) =>
    graph.node('MatMul', name, ['x', graph.floats(`${name}.weight`, [2, 2], EYE)]);
  const [query, key, value] = [part('query'), part('key'), part('value')];
  const turned = graph.node('Transpose', 'turned', [key], {
    perm: { ...int(0), type: 7, ints: [0, 2, 1] },
  });
  const weights = graph.node(
    'Softmax',
    'weights',
    [graph.node('MatMul', 'scores', [query, turned])],
    {
      axis: int(-1),
    },
  );
  const mixed = graph.node('MatMul', 'mixed', [weights, value]);
  graph.node('MatMul', 'y', [mixed, graph.floats('head.weight', [2, 2], EYE)]);
  graph.output('y', ['batch', 3, 2]);
  return graph.model('attention', 17, '');
}

function counts({ graph }: ModelProto): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { opType } of graph.node) found[opType] = (found[opType] ?? 0) + 1;
  return found;
}

describe('quantizeToInt8', () => {
  test('products of one activation share its quantization; attention and head stay', () => {
    const source = attention();
    const before = structuredClone(source);
    const { model, products, weights, kept } = quantizeToInt8(source);
    assert.deepEqual(checkGraph(model), []);
    assert.deepEqual(counts(model), {
      DynamicQuantizeLinear: 1,
      MatMulInteger: 3,
      Cast: 3,
      Mul: 6,
      Transpose: 1,
      MatMul: 3,
      Softmax: 1,
    });
    assert.deepEqual([products, weights], [3, 12]);
    assert.deepEqual(kept, ['MatMul "y": the head']);
    assert.deepEqual(source, before);
  });

  test('weights use 7 bits, or 8 if requested; the graph tells which', () => {
    const source = attention();
    assert.equal(weightBitsOf(source), null);
    for (const [bits, largest] of [
      [undefined, 63],
      [7, 63],
      [8, 127],
    ] as const) {
      const { model } = quantizeToInt8(source, bits === undefined ? {} : { bits });
      const weights = model.graph.initializer.find(({ name }) => name === 'query.weight.int8');
      assert.ok(weights !== undefined);
      assert.deepEqual(intsOf(weights), [largest, 0, 0, largest]);
      assert.equal(weightBitsOf(model), bits ?? 7);
    }
  });

  test("another tool's graph has 7 bits if none of its int8 constants is beyond 64, in a node or not", () => {
    const graphWith = (...values: number[]) => {
      const graph = new GraphBuilder();
      graph.input('x', DataType.UINT8, ['batch', 1]);
      const t = int8Tensor('', [1, values.length], values);
      const weights = graph.node('Constant', 'w', [], { value: tensor(t) });
      graph.node('MatMulInteger', 'y', ['x', weights]);
      graph.output('y', ['batch', values.length]);
      return graph.model('foreign', 17, '');
    };
    assert.equal(weightBitsOf(graphWith(-64, 64)), 7);
    assert.equal(weightBitsOf(graphWith(-65, 0)), 8);
    assert.equal(weightBitsOf(graphWith(0, 65)), 8);
  });

  test('the head becomes int8 if requested', () => {
    const { model, products, kept } = quantizeToInt8(attention(), { head: true });
    assert.deepEqual([products, kept], [4, []]);
    assert.equal(counts(model).MatMul, 2);
  });

  test('unused float weights are removed, int8 ones are present', () => {
    const { model } = quantizeToInt8(attention());
    const types = model.graph.initializer.map(({ name, dataType }) => `${name} ${dataType}`).sort();
    assert.deepEqual(types, [
      'head.weight 1',
      'key.weight.int8 3',
      'key.weight.scales 1',
      'query.weight.int8 3',
      'query.weight.scales 1',
      'value.weight.int8 3',
      'value.weight.scales 1',
    ]);
  });

  test('a Gemm keeps its bias, its factor and its transposed weights', () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 2]);
    graph.node(
      'Gemm',
      'y',
      [
        'x',
        graph.floats('w', [3, 2], Float32Array.of(127, 0, 0, 254, 1, -127)),
        graph.floats('b', [3], new Float32Array(3)),
      ],
      { transB: int(1), alpha: float(0.5) },
    );
    graph.output('y', ['batch', 3]);
    const { model } = quantizeToInt8(graph.model('gemm', 13, ''), { head: true, bits: 8 });
    const constant = (name: string) => model.graph.initializer.find((one) => one.name === name);
    const values = constant('w.int8');
    assert.deepEqual(values?.dims, [2, 3]);
    assert.deepEqual([...new Int8Array(values?.rawData ?? [])], [127, 0, 1, 0, 127, -127]);
    const scales = constant('w.scales');
    assert.deepEqual(scales && [...floatsOf(scales)], [0.5, 1, 0.5]);
    assert.deepEqual(model.graph.node.at(-1)?.input, ['y.product', 'b']);
  });

  test('a weight that two products take is quantized once', () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 2]);
    const weight = graph.floats('w', [2, 2], EYE);
    graph.node('MatMul', 'y', [graph.node('MatMul', 'once', ['x', weight]), weight]);
    graph.output('y', ['batch', 2]);
    const { model, weights } = quantizeToInt8(graph.model('tied', 17, ''), { head: true });
    assert.equal(weights, 4);
    assert.equal(model.graph.initializer.length, 2);
  });

  test('weights behind an Identity are quantized, and removed', () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 2]);
    const weight = graph.node('Identity', 'same', [graph.floats('w', [2, 2], EYE)]);
    graph.node('MatMul', 'y', ['x', weight]);
    graph.output('y', ['batch', 2]);
    const { model } = quantizeToInt8(graph.model('passed', 17, ''), { head: true });
    assert.deepEqual(counts(model), {
      DynamicQuantizeLinear: 1,
      MatMulInteger: 1,
      Cast: 1,
      Mul: 2,
    });
    assert.equal(model.graph.initializer.length, 2);
  });

  test("a patch embedding of the picture's own bytes becomes int8, and takes them as they are", () => {
    const graph = new GraphBuilder();
    graph.input('pixels', DataType.UINT8, ['batch', 2, 2, 3]);
    const rows = graph.node('Reshape', 'rows', ['pixels', graph.ints('shape', [-1, 2])]);
    const floats = graph.node('Cast', 'floats', [rows], { to: int(DataType.FLOAT) });
    // Columns of 1 and −127, and of 0.6 and 127: scales of 1, so rounding adds 0.4 to the second,
    // and the mid-grey correction removes it.
    const patches = graph.node('MatMul', 'y', [
      floats,
      graph.floats('v', [2, 2], Float32Array.of(1, 0.6, -127, 127)),
    ]);
    graph.output(patches, ['batch', 2]);
    const { model, products, kept } = quantizeToInt8(graph.model('patches', 17, ''), {
      head: true,
      bits: 8,
    });
    assert.deepEqual(checkGraph(model), []);
    assert.deepEqual([products, kept], [1, []]);
    assert.deepEqual(counts(model), { Reshape: 1, MatMulInteger: 1, Cast: 1, Mul: 1, Add: 1 });
    const correction = model.graph.initializer.find(({ name }) => name === 'y.correction');
    assert.deepEqual(
      correction && floatsOf(correction),
      Float32Array.of(0, 128 * (Math.fround(0.6) - 1)),
    );
  });

  test('bytes that another node takes as well, or that are changed first, stay float32', () => {
    for (const spoil of ['shared', 'changed']) {
      const graph = new GraphBuilder();
      graph.input('pixels', DataType.UINT8, ['batch', 1, 2, 2]);
      const clipped = spoil === 'changed' ? graph.node('Clip', 'clipped', ['pixels']) : 'pixels';
      const floats = graph.node('Cast', 'floats', [clipped], { to: int(DataType.FLOAT) });
      graph.node('MatMul', 'y', [floats, graph.floats('v', [2, 2], EYE)]);
      graph.output('y', ['batch', 1, 2, 2]);
      graph.node('Neg', 'other', [spoil === 'shared' ? floats : 'y']);
      graph.output('other', ['batch', 1, 2, 2]);
      assert.throws(
        () => quantizeToInt8(graph.model(spoil, 17, ''), { head: true }),
        /the patch embedding/,
      );
    }
  });

  test('a patch embedding of floats stays float32, also as a matrix product', () => {
    const graph = new GraphBuilder();
    graph.input('pixels', DataType.FLOAT, ['batch', 2, 2, 3]);
    const rows = graph.node('Reshape', 'rows', ['pixels', graph.ints('shape', [-1, 2])]);
    const patches = graph.node('MatMul', 'patches', [rows, graph.floats('v', [2, 2], EYE)]);
    graph.node('MatMul', 'y', [patches, graph.floats('w', [2, 2], EYE)]);
    graph.output('y', ['batch', 2]);
    const { products, kept } = quantizeToInt8(graph.model('patches', 17, ''), { head: true });
    assert.deepEqual([products, kept], [1, ['MatMul "patches": the patch embedding']]);
  });

  test('float16 weights are rejected in one line', () => {
    const model = attention();
    const initializer = model.graph.initializer.map(({ name, dims }) =>
      float16Tensor(name, dims, EYE),
    );
    assert.throws(
      () => quantizeToInt8({ ...model, graph: { ...model.graph, initializer } }),
      (error) =>
        error instanceof SetupError &&
        error.message.includes(
          'the weights "query.weight" are float16 and not float32, nor are those of 2 more nodes',
        ) &&
        error.problems.length === 1,
    );
  });

  const refusals: Readonly<Record<string, readonly [model: () => ModelProto, problem: RegExp]>> = {
    'an old opset': [
      () => ({ ...attention(), opsetImport: [{ domain: '', version: 10 }] }),
      /opset 11 or later, the graph has 10/,
    ],
    'a graph that is quantized already': [
      () => quantizeToInt8(attention()).model,
      /DynamicQuantizeLinear .* is already quantized/,
    ],
    'a graph without anything to quantize': [
      () => {
        const graph = new GraphBuilder();
        graph.input('x', DataType.FLOAT, ['batch', 2]);
        graph.node('MatMul', 'y', ['x', graph.floats('w', [2, 2], EYE)]);
        graph.output('y', ['batch', 2]);
        return graph.model('head', 17, '');
      },
      /no matrix product with constant weights for int8 \(MatMul "y": the head\)/,
    ],
    'weights that are not numbers': [
      () => {
        const model = attention();
        const [first, ...others] = model.graph.initializer;
        assert.ok(first !== undefined);
        const rawData = new Uint8Array(Float32Array.of(1, Number.NaN, 0, 1).buffer);
        return {
          ...model,
          graph: { ...model.graph, initializer: [{ ...first, rawData }, ...others] },
        };
      },
      /MatMul "query": the weights "query\.weight" can't become int8: the weight at row 0, column 1 is NaN/,
    ],
  };
  for (const [what, [model, problem]] of Object.entries(refusals)) {
    test(`rejects ${what}`, () => {
      assert.throws(
        () => quantizeToInt8(model()),
        (error) => error instanceof SetupError && problem.test(error.message),
      );
    });
  }
});
