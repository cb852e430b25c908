/** A graph written line by line holds what was written, and each name is used once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { int } from '#vitserve/onnx/graph/build.js';
import { checkGraph } from '#vitserve/onnx/graph/check.js';
import { GraphBuilder, MICROSOFT } from '#vitserve/onnx/graph/graph-builder.js';
import { DataType } from '#vitserve/onnx/proto/model-proto.js';

test('nodes, constants, inputs and outputs are in the model, and it is sound', () => {
  const graph = new GraphBuilder();
  graph.input('x', DataType.FLOAT, ['batch', 2]);
  const shifted = graph.node('Add', 'shifted', ['x', graph.scalar('one', 1)]);
  const [left, right] = graph.nodes(
    'Split',
    ['left', 'right'],
    [shifted, graph.ints('sizes', [1, 1])],
    {
      axis: int(1),
    },
  );
  graph.node(
    'BiasGelu',
    'y',
    [graph.node('Add', 'sum', [left, right]), graph.floats('bias', [1], Float32Array.of(2))],
    {},
    MICROSOFT,
  );
  graph.output('y', ['batch', 1]);
  const model = graph.model('small', 17, '1.2.3');
  assert.deepEqual(checkGraph(model), []);
  assert.deepEqual(
    model.graph.node.map(({ opType, name, output }) => [opType, name, output.join()]),
    [
      ['Add', 'shifted', 'shifted'],
      ['Split', 'left', 'left,right'],
      ['Add', 'sum', 'sum'],
      ['BiasGelu', 'y', 'y'],
    ],
  );
  assert.deepEqual(
    model.graph.initializer.map(({ name }) => name),
    ['one', 'sizes', 'bias'],
  );
  assert.deepEqual(
    model.opsetImport.map(({ domain, version }) => [domain, version]),
    [
      ['', 17],
      [MICROSOFT, 1],
    ],
  );
});

test("a name that is taken, or a value that no node makes, is the caller's mistake", () => {
  const graph = new GraphBuilder();
  graph.input('x', DataType.FLOAT, [1]);
  assert.throws(() => graph.node('Abs', 'x', ['x']), /two values are called x/);
  assert.throws(() => graph.node('Abs', 'y', ['z']), /Abs: no value z/);
  graph.floats('w', [1], Float32Array.of(1));
  assert.throws(() => graph.floats('w', [1], Float32Array.of(1)), /two values are called w/);
});

test('a shared constant is stored once', () => {
  const graph = new GraphBuilder();
  assert.equal(graph.ints('shape', [1, 2]), graph.ints('shape', [1, 2]));
  assert.equal(graph.scalar('half', 0.5), graph.scalar('half', 0.5));
  assert.equal(graph.model('m', 17, '').graph.initializer.length, 2);
});

test('a value beyond float16 is rejected by name, and the largest float16 is accepted', () => {
  const graph = new GraphBuilder();
  graph.floats('fits', [3], Float32Array.of(65_504, -65_519, 0), 'float16');
  for (const value of [65_520, -1e9, Number.NaN]) {
    assert.throws(
      () => graph.floats('w', [1], Float32Array.of(value), 'float16'),
      /tensor w has the value .*: use float32/,
    );
  }
});
