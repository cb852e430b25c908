/**
 * Small image classifiers as foreign exporters would write them, made through the ONNX module, and
 * their answers, computed here without any runtime.
 *
 * One convolution without overlap, its mean over the patches, ReLU, one linear layer. The weights
 * follow from a seed.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { graphOf, int, ints, modelOf, nodeOf, valueInfoOf } from '#vitserve/onnx/graph/build.js';
import { writeModel } from '#vitserve/onnx/proto/files.js';
import {
  DataType,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from '#vitserve/onnx/proto/model-proto.js';
import { float16Tensor, float32Tensor, int64Tensor } from '#vitserve/onnx/proto/tensors.js';

export const SIDE = 16;
export const LABELS = ['ant', 'bee', 'cat', 'dog'];
const PATCH = 8;
const HIDDEN = 6;

export interface Variation {
  readonly input?: string;
  readonly output?: string;
  readonly dims?: readonly (number | string | null)[];
  readonly layout?: 'NCHW' | 'NHWC';
  readonly half?: boolean;
  /** The graph's last operator. */
  readonly ending?: 'Softmax' | 'Sigmoid';
  /** One class, and no axis for it. */
  readonly rankOne?: boolean;
  readonly outputDims?: readonly (number | string)[];
  readonly extraInput?: boolean;
  /** The picture itself goes through dynamic quantisation. */
  readonly quantized?: boolean;
  /** Operator set 6, and a head without a bias: too old to be prepared. */
  readonly old?: boolean;
  readonly operator?: { readonly domain: string; readonly opType: string };
}

interface Weights {
  readonly kernel: Float32Array;
  readonly kernelBias: Float32Array;
  readonly head: Float32Array;
  readonly headBias: Float32Array;
}

function weightsOf(classes: number): Weights {
  // Numerical Recipes' linear congruential generator.
  let state = 7;
  const values = (count: number, scale: number) =>
    Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      return ((state >> 8) / 2 ** 23) * scale;
    });
  return {
    kernel: values(HIDDEN * 3 * PATCH * PATCH, 0.2),
    kernelBias: values(HIDDEN, 0.5),
    head: values(HIDDEN * classes, 2),
    headBias: values(classes, 1),
  };
}

export function classifier(variation: Variation = {}): ModelProto {
  const {
    input = 'input',
    output = 'output',
    layout = 'NCHW',
    half = false,
    ending,
    rankOne = false,
    old = false,
  } = variation;
  const classes = rankOne ? 1 : LABELS.length;
  const weights = weightsOf(classes);
  const type = half ? DataType.FLOAT16 : DataType.FLOAT;
  const tensor = half ? float16Tensor : float32Tensor;
  const initializer: TensorProto[] = [
    tensor('kernel', [HIDDEN, 3, PATCH, PATCH], weights.kernel),
    tensor('kernel.bias', [HIDDEN], weights.kernelBias),
    tensor('head', [HIDDEN, classes], weights.head),
    tensor('head.bias', [classes], weights.headBias),
    int64Tensor('classes.axis', [1], [1]),
  ];
  const node: NodeProto[] = [];
  const add = (opType: string, inputs: string[], name: string, options = {}) => {
    node.push(nodeOf(opType, inputs, [name], options));
    return name;
  };
  const stride = { kernel_shape: ints([PATCH, PATCH]), strides: ints([PATCH, PATCH]) };
  let x = input;
  if (layout === 'NHWC')
    x = add('Transpose', [x], 'planes', { attributes: { perm: ints([0, 3, 1, 2]) } });
  if (variation.quantized === true) {
    const steps = ['steps', 'step', 'zero'];
    node.push(nodeOf('DynamicQuantizeLinear', [x], steps));
    x = add('DequantizeLinear', steps, 'coarse');
  }
  x = add('Conv', [x, 'kernel', 'kernel.bias'], 'patches', { attributes: stride });
  x = add('GlobalAveragePool', [x], 'mean');
  x = add('Flatten', [x], 'flat', { attributes: { axis: int(1) } });
  x = add('Relu', [x], 'hidden');
  if (variation.operator !== undefined) {
    const { domain, opType } = variation.operator;
    x = add(opType, [x], 'odd', { domain });
  }
  const steps = [rankOne ? 'Squeeze' : null, ending ?? null].filter((step) => step !== null);
  const logits = steps.length === 0 ? output : 'logits.inner';
  x = old ? add('MatMul', [x, 'head'], logits) : add('Gemm', [x, 'head', 'head.bias'], logits);
  for (const [index, step] of steps.entries()) {
    const name = index === steps.length - 1 ? output : `${step}.inner`;
    const attributes = step === 'Softmax' ? { axis: int(-1) } : {};
    x = add(step, step === 'Squeeze' ? [x, 'classes.axis'] : [x], name, { attributes });
  }
  const dims =
    variation.dims ?? (layout === 'NCHW' ? ['batch', 3, SIDE, SIDE] : ['batch', SIDE, SIDE, 3]);
  const [batch = 'batch'] = dims;
  const inputs = [valueInfoOf(input, type, dims)];
  if (variation.extraInput === true) inputs.push(valueInfoOf('mask', type, dims));
  const graph = graphOf('main', {
    node,
    initializer: old ? initializer.slice(0, 3) : initializer,
    input: inputs,
    output: [
      valueInfoOf(output, type, variation.outputDims ?? (rankOne ? [batch] : [batch, classes])),
    ],
  });
  const opsets = {
    '': old ? 6 : 17,
    ...(variation.operator === undefined ? {} : { [variation.operator.domain]: 1 }),
  };
  return modelOf(graph, { opsets, producerName: 'pytorch', producerVersion: '2.15.0' });
}

/**
 * Probabilities of one image, uint8 `[SIDE, SIDE, 3]`, normalised by (value / 255 − mean) / std.
 */
export function answerOf(
  pixels: Uint8Array,
  { mean, std }: { mean: readonly number[]; std: readonly number[] },
  { ending, rankOne = false, old = false }: Variation = {},
): number[] {
  const classes = rankOne ? 1 : LABELS.length;
  const { kernel, kernelBias, head, headBias } = weightsOf(classes);
  const patches = (SIDE / PATCH) ** 2;
  const hidden = Array.from(kernelBias);
  for (let at = 0; at < pixels.length; at++) {
    const [channel, x, y] = [at % 3, Math.floor(at / 3) % SIDE, Math.floor(at / 3 / SIDE)];
    const value = ((pixels[at] ?? 0) / 255 - (mean[channel] ?? 0)) / (std[channel] ?? 1);
    for (let unit = 0; unit < HIDDEN; unit++) {
      const weight =
        kernel[((unit * 3 + channel) * PATCH + (y % PATCH)) * PATCH + (x % PATCH)] ?? 0;
      hidden[unit] = (hidden[unit] ?? 0) + (value * weight) / patches;
    }
  }
  const logits = Array.from(headBias, (bias, index) =>
    hidden.reduce(
      (sum, value, unit) => sum + Math.max(0, value) * (head[unit * classes + index] ?? 0),
      old ? 0 : bias,
    ),
  );
  if (rankOne || ending === 'Sigmoid') return logits.map((logit) => 1 / (1 + Math.exp(-logit)));
  const exponentials = logits.map(Math.exp);
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/** Writes a graph, its folder included. */
export async function writeGraph(
  path: string,
  model: ModelProto,
  externalData: 'never' | 'always' = 'never',
) {
  mkdirSync(dirname(path), { recursive: true });
  await writeModel(path, model, { externalData });
}

export function writeJson(path: string, content: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(content));
}

/** The files of transformers beside a model of this size. */
export const HF_CONFIG = {
  architectures: ['ViTForImageClassification'],
  model_type: 'vit',
  image_size: SIDE,
  id2label: Object.fromEntries(LABELS.entries()),
};

export const HF_PREPROCESSOR = {
  image_processor_type: 'ViTImageProcessor',
  size: { height: SIDE, width: SIDE },
  resample: 2,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};

/** The axes that optimum leaves open. */
export const HF_AXES = {
  input: 'pixel_values',
  output: 'logits',
  dims: ['batch_size', 'num_channels', 'height', 'width'],
} as const;

export const TIMM_CONFIG = {
  architecture: 'vit_tiny_patch16_224',
  label_names: LABELS,
  pretrained_cfg: {
    input_size: [3, SIDE, SIDE],
    crop_pct: 0.9,
    interpolation: 'bicubic',
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    license: 'apache-2.0',
  },
};
