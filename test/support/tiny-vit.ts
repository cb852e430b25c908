/**
 * A Vision Transformer small enough to be written down: 8 × 8 pixels, four patches, width 8, two
 * heads, one block, five classes. Its variants are the forms in which exporters write the same
 * model. Weights are random, from a seed.
 */
import { graphOf, int, ints, modelOf, nodeOf, valueInfoOf } from '#vitserve/onnx/graph/build.js';
import {
  DataType,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from '#vitserve/onnx/proto/model-proto.js';
import { float16Tensor, float32Tensor, int64Tensor } from '#vitserve/onnx/proto/tensors.js';

export const TINY = { size: 8, width: 8, classes: 5 } as const;

export interface TinyVariant {
  readonly layout: 'NCHW' | 'NHWC';
  readonly type: 'float32' | 'float16';
  /** A number: the batch is fixed to it, in the input, in Reshapes and in the class token. */
  readonly batch: number | 'symbolic';
  /** A convolution of 6 × 6 with padding 1, in place of 4 × 4. */
  readonly padded: boolean;
  readonly head: 'logits' | 'softmax' | 'binary' | 'two-heads';
  /**
   * With an MLP behind the attention: `fused` as opset 17 writes LayerNorm and GELU, `spelled` as
   * older ones do.
   */
  readonly mlp: 'none' | 'fused' | 'spelled';
}

export const PLAIN: TinyVariant = {
  layout: 'NCHW',
  type: 'float32',
  batch: 'symbolic',
  padded: false,
  head: 'logits',
  mlp: 'none',
};

/** Numbers of -1 to 1, the same for the same seed (mulberry32). */
export function randomNumbers(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  });
}

export function tinyVit(variant: TinyVariant): ModelProto {
  const { layout, type, batch, padded, head, mlp } = variant;
  const { size, width, classes } = TINY;
  const initializer: TensorProto[] = [];
  const node: NodeProto[] = [];
  const add = (opType: string, inputs: string[], output: string, attributes = {}) => {
    node.push(nodeOf(opType, inputs, [output], { attributes }));
    return output;
  };
  const weights = (name: string, dims: number[], scale = 0.5) => {
    const values = randomNumbers(
      dims.reduce((a, b) => a * b, 1),
      initializer.length + 1,
    ).map((value) => value * scale);
    initializer.push(
      type === 'float16' ? float16Tensor(name, dims, values) : float32Tensor(name, dims, values),
    );
    return name;
  };
  const shape = (name: string, sizes: number[]) => {
    initializer.push(int64Tensor(name, [sizes.length], sizes));
    return name;
  };
  const fixed = typeof batch === 'number' ? batch : null;
  const first = fixed ?? 0;

  let pixels = 'image';
  if (layout === 'NHWC')
    pixels = add('Transpose', [pixels], 'channels_first', { perm: ints([0, 3, 1, 2]) });
  const kernel = padded ? 6 : 4;
  add(
    'Conv',
    [
      pixels,
      weights('patch.weight', [width, 3, kernel, kernel], 0.2),
      weights('patch.bias', [width]),
    ],
    'grid',
    {
      kernel_shape: ints([kernel, kernel]),
      strides: ints([4, 4]),
      pads: ints(padded ? [1, 1, 1, 1] : [0, 0, 0, 0]),
    },
  );
  add('Reshape', ['grid', shape('flat_shape', [first, width, 4])], 'flat');
  add('Transpose', ['flat'], 'patches', { perm: ints([0, 2, 1]) });
  let token = weights('class_token', [1, 1, width]);
  if (fixed === null) {
    add('Shape', ['image'], 'image_shape');
    add('Gather', ['image_shape', shape('zeroth', [0])], 'batch_size', { axis: int(0) });
    add('Concat', ['batch_size', shape('one_token', [1, width])], 'token_shape', { axis: int(0) });
    token = add('Expand', [token, 'token_shape'], 'tokens');
  }
  add('Concat', [token, 'patches'], 'sequence', { axis: int(1) });
  add('Add', ['sequence', weights('positions', [1, 5, width])], 'embedded');

  const norm = (input: string, name: string) =>
    add(
      'LayerNormalization',
      [input, weights(`${name}.weight`, [width], 1), weights(`${name}.bias`, [width])],
      name,
      {
        axis: int(-1),
      },
    );
  /** LayerNorm as exporters wrote it before it was an operator. */
  const spelledNorm = (input: string) => {
    const two = type === 'float16' ? float16Tensor('two', [], [2]) : float32Tensor('two', [], [2]);
    initializer.push(two);
    add('ReduceMean', [input], 'mean', { axes: ints([-1]) });
    add('Sub', [input, 'mean'], 'centred');
    add('Pow', ['centred', 'two'], 'squares');
    add('ReduceMean', ['squares'], 'variance', { axes: ints([-1]) });
    add('Sqrt', ['variance'], 'deviation');
    return add('Div', ['centred', 'deviation'], 'standard');
  };
  norm('embedded', 'norm1');
  add('MatMul', ['norm1', weights('qkv.weight', [width, 3 * width])], 'qkv');
  add('Reshape', ['qkv', shape('qkv_shape', [first, 5, 3, 2, width / 2])], 'heads');
  add('Transpose', ['heads'], 'by_part', { perm: ints([2, 0, 3, 1, 4]) });
  for (const [at, name] of ['q', 'k', 'v'].entries()) {
    initializer.push(int64Tensor(`${name}_index`, [], [at]));
    add('Gather', ['by_part', `${name}_index`], name, { axis: int(0) });
  }
  add('Transpose', ['k'], 'k_turned', { perm: ints([0, 1, 3, 2]) });
  add('MatMul', ['q', 'k_turned'], 'scores');
  add('Softmax', ['scores'], 'attention', { axis: int(-1) });
  add('MatMul', ['attention', 'v'], 'mixed');
  add('Transpose', ['mixed'], 'mixed_turned', { perm: ints([0, 2, 1, 3]) });
  add('Reshape', ['mixed_turned', shape('mixed_shape', [first, 5, width])], 'joined');
  add('Add', ['embedded', 'joined'], 'residual');
  let last = 'residual';
  if (mlp !== 'none') {
    const normed = mlp === 'fused' ? norm(last, 'mlp_norm') : spelledNorm(last);
    add('MatMul', [normed, weights('grow.weight', [width, 2 * width])], 'grown');
    add('Add', [weights('grow.bias', [2 * width]), 'grown'], 'biased');
    add('Sigmoid', ['biased'], 'gate');
    add('Mul', ['biased', 'gate'], 'active');
    add('MatMul', ['active', weights('shrink.weight', [2 * width, width])], 'shrunk');
    last = add('Add', ['residual', 'shrunk'], 'result');
  }
  norm(last, 'norm2');
  initializer.push(int64Tensor('class_index', [], [0]));
  add('Gather', ['norm2', 'class_index'], 'representation', { axis: int(1) });

  const outputs = head === 'binary' ? 1 : classes;
  add(
    'Gemm',
    ['representation', weights('head.weight', [outputs, width]), weights('head.bias', [outputs])],
    'logits',
    {
      transB: int(1),
    },
  );
  let output = 'logits';
  if (head === 'softmax') output = add('Softmax', ['logits'], 'answer', { axis: int(-1) });
  if (head === 'binary') output = add('Squeeze', ['logits', shape('last_axis', [-1])], 'answer');
  if (head === 'two-heads') {
    add('MatMul', ['representation', weights('second.weight', [width, classes])], 'second');
    output = add('Add', ['logits', 'second'], 'answer');
  }
  const elements = type === 'float16' ? DataType.FLOAT16 : DataType.FLOAT;
  const images = fixed ?? 'n';
  const dims = layout === 'NHWC' ? [images, size, size, 3] : [images, 3, size, size];
  const graph = graphOf('tiny', {
    node,
    initializer,
    input: [valueInfoOf('image', elements, dims)],
    output: [valueInfoOf(output, elements, head === 'binary' ? [images] : [images, outputs])],
  });
  return modelOf(graph, { opsets: { '': 17 } });
}
