/**
 * Which nodes become float16, and where Casts stand. test/integration checks that it computes the
 * same.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { int } from '#vitserve/onnx/graph/build.js';
import { checkGraph } from '#vitserve/onnx/graph/check.js';
import { GraphBuilder } from '#vitserve/onnx/graph/graph-builder.js';
import { convertToFloat16 } from '#vitserve/onnx/passes/to-float16.js';
import { DataType, type ModelProto } from '#vitserve/onnx/proto/model-proto.js';

/** Pixels → convolution → shift → two products, one of which is an output → softmax. */
function small(shift = 1): ModelProto {
  const graph = new GraphBuilder();
  graph.input('pixels', DataType.UINT8, ['batch', 3, 2, 2]);
  const cast = graph.node('Cast', 'floats', ['pixels'], { to: int(DataType.FLOAT) });
  const patches = graph.node('Conv', 'patches', [
    cast,
    graph.floats('kernel', [2, 3, 2, 2], new Float32Array(24)),
  ]);
  const flat = graph.node('Reshape', 'flat', [patches, graph.ints('shape', [-1, 2])]);
  const shifted = graph.node('Add', 'shifted', [flat, graph.scalar('shift', shift)]);
  const embedding = graph.node('MatMul', 'embedding', [
    shifted,
    graph.floats('w', [2, 2], Float32Array.of(1, 2, 3, 4)),
  ]);
  const logits = graph.node('MatMul', 'logits', [
    embedding,
    graph.floats('v', [2, 2], Float32Array.of(1, 2, 3, 4)),
  ]);
  graph.node('Softmax', 'probabilities', [logits], { axis: int(-1) });
  graph.output('probabilities', ['batch', 2]);
  graph.output('embedding', ['batch', 2]);
  return graph.model('small', 17, '');
}

function text({ graph }: ModelProto): string[] {
  return graph.node.map(
    ({ opType, input, output }) => `${output.join()} = ${opType}(${input.join()})`,
  );
}

describe('convertToFloat16', () => {
  test('the middle becomes float16; pixels, answers and outputs stay', () => {
    const source = small();
    const before = structuredClone(source);
    const { model, halved, kept } = convertToFloat16(source);
    assert.deepEqual(text(model), [
      'floats = Cast(pixels)',
      'patches = Conv(floats,kernel)',
      'patches.float16 = Cast(patches)',
      'flat = Reshape(patches.float16,shape)',
      'shifted = Add(flat,shift.float16)',
      'embedding.float16 = MatMul(shifted,w.float16)',
      'embedding = Cast(embedding.float16)',
      'logits = MatMul(embedding.float16,v.float16)',
      'logits.float32 = Cast(logits)',
      'probabilities = Softmax(logits.float32)',
    ]);
    assert.deepEqual(checkGraph(model), []);
    assert.equal(new Set(model.graph.node.map(({ name }) => name)).size, model.graph.node.length);
    assert.equal(halved, 4);
    assert.equal(kept.length, 3);
    assert.deepEqual(source, before);
  });

  test('a node with a constant beyond float16 stays float32', () => {
    const { model, kept } = convertToFloat16(small(70_000));
    assert.ok(kept.includes('Add "shifted": the constant "shift" is beyond float16'));
    assert.ok(text(model).includes('shifted = Add(flat.float32,shift)'), text(model).join('\n'));
    assert.deepEqual(checkGraph(model), []);
  });

  test('a float16 graph and an unknown operator are rejected', () => {
    assert.throws(
      () => convertToFloat16(convertToFloat16(small()).model),
      (error) => error instanceof SetupError && /float16 already/.test(error.message),
    );
    const strange = small();
    const [first, ...others] = strange.graph.node;
    assert.ok(first !== undefined);
    const graph = { ...strange.graph, node: [{ ...first, opType: 'Shuffle' }, ...others] };
    assert.throws(
      () => convertToFloat16({ ...strange, graph }),
      (error) => error instanceof SetupError && /the operator Shuffle/.test(error.message),
    );
  });
});
