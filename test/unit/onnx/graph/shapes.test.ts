/**
 * Shapes that exporters hide, and the figures of a summary. test/integration compares every shape
 * of a whole graph with onnxruntime.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { int, ints } from '#vitserve/onnx/graph/build.js';
import { GraphBuilder, MICROSOFT } from '#vitserve/onnx/graph/graph-builder.js';
import { inferShapes } from '#vitserve/onnx/graph/shapes.js';
import { summarizeGraph } from '#vitserve/onnx/graph/summary.js';
import { quantizeToInt8 } from '#vitserve/onnx/passes/quantize.js';
import { readModel } from '#vitserve/onnx/proto/files.js';
import { DataType } from '#vitserve/onnx/proto/model-proto.js';
import { MODELS } from '../../../support/scope.js';

describe('inferShapes', () => {
  test('follows a computed shape: Shape, Gather, arithmetic, Concat, Reshape', () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 6, 4]);
    const sizes = graph.node('Shape', 'sizes', ['x']);
    const batch = graph.node('Gather', 'size', [sizes, graph.ints('zero', 0)]);
    const listed = graph.node('Unsqueeze', 'listed', [batch, graph.ints('axes', [0])]);
    const tokens = graph.node('Slice', 'tokens', [
      sizes,
      graph.ints('one', [1]),
      graph.ints('two', [2]),
    ]);
    const halved = graph.node('Div', 'halved', [tokens, graph.ints('half', [2])]);
    const target = graph.node('Concat', 'target', [listed, halved, graph.ints('rest', [-1])], {
      axis: int(0),
    });
    graph.node('Reshape', 'y', ['x', target]);
    graph.output('y', ['batch', 'tokens', 'width']);
    const shapes = inferShapes(graph.model('shapes', 17, ''), { x: [5, 6, 4] });
    assert.deepEqual(shapes.valueOf('target')?.elements, [5, 3, -1]);
    assert.deepEqual(shapes.valueOf('y'), { dataType: DataType.FLOAT, dims: [5, 3, 8] });
    assert.deepEqual(shapes.unknownOperators, []);
  });

  test('names the unknown operator, and only that one', () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 2]);
    graph.node('Relu', 'z', [graph.node('Whirl', 'y', ['x'], {}, 'com.example')]);
    graph.output('z', ['batch', 2]);
    const shapes = inferShapes(graph.model('strange', 17, ''));
    assert.deepEqual(shapes.unknownOperators, ['com.example.Whirl']);
    assert.equal(shapes.valueOf('z')?.dims ?? null, null);
  });
});

describe('summarizeGraph', () => {
  const [tokens, width, hidden, layers, classes, patchInputs] = [65, 192, 384, 4, 10, 48];
  /** Of one block that makes `wanted` tokens: it makes keys and values of all tokens. */
  const block = (wanted: number) =>
    tokens * width * 2 * width +
    wanted * width * (2 * width + 2 * hidden) +
    2 * wanted * tokens * width;
  const macs = 64 * patchInputs * width + (layers - 1) * block(tokens) + block(1) + width * classes;

  test('counts the default model’s work as worked out by hand, also quantized', async () => {
    const model = await readModel(join(MODELS, 'vit-cifar10/1/model.onnx'));
    const summary = summarizeGraph(model);
    assert.equal(summary.macs, macs);
    assert.deepEqual(summary.unknownOperators, []);
    assert.equal(summary.operators.Softmax, layers + 1);
    const quantized = summarizeGraph(quantizeToInt8(model).model);
    assert.equal(quantized.macs, macs);
    assert.equal(
      quantized.parameterBytes.int8,
      patchInputs * width + layers * width * (4 * width + 2 * hidden),
    );
  });

  test('counts fused attention', () => {
    const graph = new GraphBuilder();
    graph.input('q', DataType.FLOAT, ['batch', 3, 8]);
    graph.input('k', DataType.FLOAT, ['batch', 5, 8]);
    graph.node('MultiHeadAttention', 'y', ['q', 'k', 'k'], { num_heads: int(2) }, MICROSOFT);
    graph.output('y', ['batch', 3, 8]);
    assert.equal(summarizeGraph(graph.model('fused', 17, '')).macs, 2 * 3 * 5 * 8);
  });

  test('counts a grouped, strided, padded convolution', () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 4, 9, 9]);
    graph.node('Conv', 'y', ['x', graph.floats('w', [6, 2, 3, 3], new Float32Array(108))], {
      group: int(2),
      strides: ints([2, 2]),
      pads: ints([1, 1, 1, 1]),
    });
    graph.output('y', ['batch', 6, 5, 5]);
    const model = graph.model('convolution', 17, '');
    assert.deepEqual(inferShapes(model).valueOf('y')?.dims, [1, 6, 5, 5]);
    assert.equal(summarizeGraph(model).macs, 6 * 5 * 5 * 2 * 9);
  });

  test('gives no work if the shape of a product is unknown', () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 2]);
    graph.node('MatMul', 'z', [
      graph.node('Whirl', 'y', ['x']),
      graph.floats('w', [2, 2], new Float32Array(4)),
    ]);
    graph.output('z', ['batch', 2]);
    const {
      macs: unknown,
      unknownOperators,
      parameters,
    } = summarizeGraph(graph.model('strange', 17, ''));
    assert.deepEqual([unknown, unknownOperators, parameters], [null, ['Whirl'], 4]);
  });
});
