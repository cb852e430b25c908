/**
 * Prepared graphs compared with their originals, both executed by onnxruntime: the original gets
 * pixels normalised here, the prepared one gets the bytes.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import '#vitserve/workers/inference/half-tensors.js';
import { checkGraph } from '#vitserve/onnx/graph/check.js';
import { describeGraph } from '#vitserve/onnx/graph/graph.js';
import {
  type PreparedGraph,
  type PrepareOptions,
  prepareGraph,
} from '#vitserve/onnx/passes/prepare.js';
import { encodeModel } from '#vitserve/onnx/proto/codec.js';
import { narrowToFloat16, widenFloat16 } from '#vitserve/onnx/proto/float16.js';
import type { ModelProto } from '#vitserve/onnx/proto/model-proto.js';
import { openSession, Tensor } from '#vitserve/workers/inference/onnxruntime.js';
import { PLAIN, randomNumbers, TINY, type TinyVariant, tinyVit } from '../support/tiny-vit.js';

const NORMALIZATION = { rescale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const { size, width, classes } = TINY;

function pixelsOf(images: number): Uint8Array {
  return Uint8Array.from(
    randomNumbers(images * size * size * 3, 7),
    (value) => (value + 1) * 127.5,
  );
}

function normalized(pixels: Uint8Array, layout: 'NCHW' | 'NHWC', images: number): Float32Array {
  const { rescale, mean, std } = NORMALIZATION;
  const values = Float64Array.from(
    pixels,
    (pixel, at) => (pixel * rescale - (mean[at % 3] ?? 0)) / (std[at % 3] ?? 1),
  );
  if (layout === 'NHWC') return Float32Array.from(values);
  const area = size * size;
  return Float32Array.from({ length: images * 3 * area }, (_, at) => {
    const image = Math.floor(at / (3 * area));
    const channel = Math.floor(at / area) % 3;
    return values[(image * area + (at % area)) * 3 + channel] ?? 0;
  });
}

async function run(
  model: ModelProto,
  feeds: Record<string, Tensor>,
): Promise<Record<string, Tensor>> {
  const session = await openSession(encodeModel(model));
  try {
    return (await session.run(feeds)) as Record<string, Tensor>;
  } finally {
    await session.release();
  }
}

/** The original's answers, image by image if its batch is fixed. */
async function original(
  variant: TinyVariant,
  pixels: Uint8Array,
  images: number,
): Promise<Float32Array> {
  const model = tinyVit(variant);
  const perRun = typeof variant.batch === 'number' ? variant.batch : images;
  const answers: number[] = [];
  for (let start = 0; start < images; start += perRun) {
    const bytes = pixels.subarray(start * size * size * 3, (start + perRun) * size * size * 3);
    const values = normalized(bytes, variant.layout, perRun);
    const dims = variant.layout === 'NHWC' ? [perRun, size, size, 3] : [perRun, 3, size, size];
    const feed =
      variant.type === 'float16'
        ? new Tensor('float16', new Uint16Array(narrowToFloat16(values).buffer), dims)
        : new Tensor('float32', values, dims);
    const result = await run(model, { image: feed });
    const [output] = Object.values(result);
    assert.ok(output !== undefined);
    const { data } = output;
    answers.push(
      ...(variant.type === 'float16'
        ? widenFloat16(new Uint8Array((data as Uint16Array).slice().buffer))
        : (data as Float32Array)),
    );
  }
  return Float32Array.from(answers);
}

async function prepared(graph: PreparedGraph, pixels: Uint8Array, images: number) {
  const feed = new Tensor('uint8', pixels, [images, size, size, 3]);
  const outputs = await run(graph.model, { [graph.inputName]: feed });
  const answer = outputs[graph.outputName];
  assert.ok(answer !== undefined);
  assert.equal(answer.type, 'float32');
  const embedding = graph.embeddingName === null ? undefined : outputs[graph.embeddingName];
  return { values: answer.data as Float32Array, dims: answer.dims, embedding };
}

function softmax(logits: Float32Array, count: number): Float32Array {
  return logits.map((value, at) => {
    const row = logits.subarray(at - (at % count), at - (at % count) + count);
    return Math.exp(value) / row.reduce((sum, other) => sum + Math.exp(other), 0);
  });
}

function assertClose(found: Float32Array, expected: Float32Array, tolerance: number): void {
  assert.equal(found.length, expected.length);
  const difference = found.reduce(
    (most, value, at) => Math.max(most, Math.abs(value - (expected[at] ?? Number.NaN))),
    0,
  );
  assert.ok(difference <= tolerance, `differs by ${difference}`);
}

function optionsFor(variant: TinyVariant): PrepareOptions {
  const isLogits = variant.head === 'logits' || variant.head === 'two-heads';
  return {
    input: { name: 'image', layout: variant.layout, height: size, width: size },
    normalization: NORMALIZATION,
    output: {
      name: isLogits && variant.head !== 'two-heads' ? 'logits' : 'answer',
      activation: variant.head === 'binary' ? 'sigmoid' : 'softmax',
      kind: variant.head === 'softmax' ? 'probabilities' : 'logits',
    },
    embedding: 'find',
  };
}

const CASES: readonly [name: string, changes: Partial<TinyVariant>, tolerance: number][] = [
  ['NCHW float32', {}, 1e-5],
  ['NHWC float32', { layout: 'NHWC' }, 1e-5],
  ['NCHW float16', { type: 'float16' }, 4e-3],
  ['NHWC float16', { type: 'float16', layout: 'NHWC' }, 4e-3],
  ['a convolution with padding', { padded: true }, 1e-5],
  ['a convolution with padding, NHWC', { padded: true, layout: 'NHWC' }, 1e-5],
  ['a convolution with padding, float16', { padded: true, type: 'float16' }, 4e-3],
  ['a batch fixed to 1', { batch: 1 }, 1e-5],
  ['a batch fixed to 1, NHWC', { batch: 1, layout: 'NHWC' }, 1e-5],
  ['a softmax inside', { head: 'softmax' }, 1e-5],
  ['an MLP behind the attention', { mlp: 'fused' }, 1e-5],
  ['an MLP, a batch fixed to 1', { mlp: 'fused', batch: 1 }, 1e-5],
  ['an MLP, float16', { mlp: 'fused', type: 'float16' }, 4e-3],
  ['an MLP, LayerNorm spelled out', { mlp: 'spelled' }, 1e-5],
];

describe('a prepared graph answers as its original, softmax included', () => {
  for (const [name, changes, tolerance] of CASES) {
    test(name, async () => {
      const variant = { ...PLAIN, ...changes };
      const images = 3;
      const pixels = pixelsOf(images);
      const graph = prepareGraph(tinyVit(variant), optionsFor(variant));
      assert.deepEqual(checkGraph(graph.model), []);
      assert.deepEqual(describeGraph(graph.model), {
        inputs: [
          { name: 'pixels', dataType: 2, typeName: 'uint8', dims: ['batch', size, size, 3] },
        ],
        outputs: [
          { name: 'probabilities', dataType: 1, typeName: 'float32', dims: ['batch', classes] },
          { name: 'embedding', dataType: 1, typeName: 'float32', dims: ['batch', width] },
        ],
      });
      assert.equal(graph.foldedNormalization, !variant.padded, graph.notes.join('\n'));
      assert.equal(graph.fixedBatch, null, graph.notes.join('\n'));
      assert.equal(graph.embeddingSize, width);
      const { values, dims, embedding } = await prepared(graph, pixels, images);
      assert.deepEqual(dims, [images, classes]);
      const before = await original(variant, pixels, images);
      assertClose(
        values,
        variant.head === 'softmax' ? before : softmax(before, classes),
        tolerance,
      );
      assert.deepEqual(embedding?.dims, [images, width]);
      assert.equal(embedding?.type, 'float32');
    });
  }
});

test('the embedding, multiplied by the head by hand, gives the logits', async () => {
  const model = tinyVit(PLAIN);
  const graph = prepareGraph(model, {
    ...optionsFor(PLAIN),
    output: { name: 'logits', activation: 'none', kind: 'logits' },
  });
  assert.equal(graph.outputName, 'logits');
  const { values, embedding } = await prepared(graph, pixelsOf(2), 2);
  const vectors = embedding?.data as Float32Array;
  const tensor = (name: string) => {
    const found = model.graph.initializer.find((one) => one.name === name)?.rawData;
    assert.ok(found !== undefined);
    return new Float32Array(found.slice().buffer);
  };
  const weights = tensor('head.weight');
  const bias = tensor('head.bias');
  const expected = Float32Array.from({ length: 2 * classes }, (_, at) => {
    const [image, label] = [Math.floor(at / classes), at % classes];
    let sum = bias[label] ?? 0;
    for (let k = 0; k < width; k++)
      sum += (vectors[image * width + k] ?? 0) * (weights[label * width + k] ?? 0);
    return sum;
  });
  assertClose(values, expected, 1e-5);
});

test('one sigmoid an image, [batch], becomes [batch, 1] or two classes', async () => {
  const variant: TinyVariant = { ...PLAIN, head: 'binary' };
  const pixels = pixelsOf(2);
  const expected = (await original(variant, pixels, 2)).map((logit) => 1 / (1 + Math.exp(-logit)));
  const options = optionsFor(variant);
  const one = await prepared(prepareGraph(tinyVit(variant), options), pixels, 2);
  assert.deepEqual(one.dims, [2, 1]);
  assertClose(one.values, expected, 1e-5);
  const graph = prepareGraph(tinyVit(variant), {
    ...options,
    output: { ...options.output, binaryClasses: 'two' },
  });
  const two = await prepared(graph, pixels, 2);
  assert.deepEqual(two.dims, [2, 2]);
  assertClose(two.values, Float32Array.from([...expected].flatMap((p) => [1 - p, p])), 1e-5);
  assert.equal(graph.embeddingSize, width);
});

test('a batch fixed to more than one stays fixed, and a note says why', async () => {
  const variant: TinyVariant = { ...PLAIN, batch: 2 };
  // The class token of one row does not join two images: such an export has two rows.
  const model = tinyVit(variant);
  model.graph.initializer = model.graph.initializer.map((tensor) => {
    if (tensor.name !== 'class_token' || tensor.rawData === undefined) return tensor;
    return {
      ...tensor,
      dims: [2, 1, width],
      rawData: Buffer.concat([tensor.rawData, tensor.rawData]),
    };
  });
  const graph = prepareGraph(model, optionsFor(variant));
  assert.equal(graph.fixedBatch, 2);
  assert.deepEqual(describeGraph(graph.model).inputs[0]?.dims, [2, size, size, 3]);
  assert.match(
    graph.notes.join('\n'),
    /takes batches of 2 only, because the batch can't be followed through node Concat "sequence"/,
  );
  assert.deepEqual((await prepared(graph, pixelsOf(2), 2)).dims, [2, classes]);
});

test('two heads have no single representation, but answers', async () => {
  const variant: TinyVariant = { ...PLAIN, head: 'two-heads' };
  const graph = prepareGraph(tinyVit(variant), optionsFor(variant));
  assert.equal(graph.embeddingSize, null);
  assert.equal(graph.embeddingName, null);
  assert.match(graph.notes.join('\n'), /no embedding: Add joins two branches/);
  const { values } = await prepared(graph, pixelsOf(1), 1);
  assertClose(values, softmax(await original(variant, pixelsOf(1), 1), classes), 1e-5);
});
