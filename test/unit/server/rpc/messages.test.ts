/** Answers and models as messages of the contract. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ModelInfo } from '#vitserve/server/models/served-model.js';
import { toClassifyResponse, toEmbedded, toModel } from '#vitserve/server/rpc/messages.js';
import { type ImageRecord, newImageRecord } from '#vitserve/server/telemetry/record.js';
import type { InferenceOutput } from '#vitserve/workers/inference/messages.js';

const MODEL: ModelInfo = {
  name: 'small',
  version: '3',
  executionProvider: 'cpu',
  fallbackReason: null,
  slowForm: null,
  labels: ['cat', 'dog', 'fox'],
  inputHeight: 32,
  inputWidth: 48,
  embeddingSize: 2,
  maxBatchSize: 4,
};

const OUTPUT: InferenceOutput = {
  predictions: [
    { classIndex: 2, score: 0.75 },
    { classIndex: 0, score: 0.25 },
  ],
  embedding: Float32Array.of(3, -4),
  executionMs: 2_007.25,
  batchSize: 3,
};

/** Admitted at 1,000 ms, waited for nothing. */
const recordWith = (decodeMs: number): ImageRecord => ({
  ...newImageRecord(900),
  admittedAt: 1_000,
  decoded: { at: 1_010, decodeMs, format: 'jpeg', decoder: 'turbojpeg' },
  executed: { at: 1_000 + decodeMs + 2_007.25, executionMs: 2_007.25, batchSize: 3 },
});
const RECORD = recordWith(1.5);

const VERSION = { name: 'small', version: '3', executionProvider: 'cpu' };
const TIMING = {
  decode: { seconds: 0, nanos: 1_500_000 },
  queue: { seconds: 0, nanos: 0 },
  inference: { seconds: 2, nanos: 7_250_000 },
  batchSize: 3,
};

describe('a classification', () => {
  test('names its classes, best first, what answered and where the time went', () => {
    assert.deepEqual(toClassifyResponse(OUTPUT, RECORD, MODEL), {
      predictions: [
        { classIndex: 2, label: 'fox', score: 0.75 },
        { classIndex: 0, label: 'cat', score: 0.25 },
      ],
      model: VERSION,
      timing: TIMING,
    });
  });

  test('leaves a class without a label unnamed', () => {
    const predictions = [{ classIndex: 9, score: 1 }];
    assert.equal(
      toClassifyResponse({ ...OUTPUT, predictions }, RECORD, MODEL).predictions?.[0]?.label,
      '',
    );
  });

  test('has times whose nanoseconds stay below a second', () => {
    for (const decodeMs of [
      0.000_001, 0.999_999_9, 999.999_999_9, 999.999_999_999_99, 1_000, 59_999.999_999,
    ]) {
      const decode = toClassifyResponse(OUTPUT, recordWith(decodeMs), MODEL).timing?.decode;
      const [seconds, nanos] = [Number(decode?.seconds), Number(decode?.nanos)];
      assert.ok(
        Number.isInteger(nanos) && nanos >= 0 && nanos < 1e9,
        `${decodeMs} ms has ${nanos} ns`,
      );
      assert.ok(Math.abs(seconds * 1e3 + nanos / 1e6 - decodeMs) < 2e-6);
    }
  });
});

const ALL = { normalize: false, dimensions: 0 };
const SCALED = { normalize: true, dimensions: 0 };

describe('an embedding', () => {
  test('is what the graph gave', () => {
    assert.deepEqual(toEmbedded(OUTPUT, RECORD, MODEL, ALL), {
      embedding: Float32Array.of(3, -4),
      model: VERSION,
      timing: TIMING,
    });
  });

  test('has length 1 where that is asked for', () => {
    assert.deepEqual(
      toEmbedded(OUTPUT, RECORD, MODEL, SCALED).embedding,
      Float32Array.of(0.6, -0.8),
    );
  });

  test('is cut to the first values before it is scaled', () => {
    const cut = (normalize: boolean) =>
      toEmbedded(OUTPUT, RECORD, MODEL, { normalize, dimensions: 1 }).embedding;
    assert.deepEqual([cut(false), cut(true)], [Float32Array.of(3), Float32Array.of(1)]);
  });

  test('of nothing but zeroes stays so', () => {
    assert.deepEqual(
      toEmbedded({ ...OUTPUT, embedding: Float32Array.of(0, 0) }, RECORD, MODEL, SCALED).embedding,
      Float32Array.of(0, 0),
    );
  });
});

test('a model is described with its classes, sizes and limits', () => {
  assert.deepEqual(toModel(MODEL), {
    model: VERSION,
    classCount: 3,
    labels: ['cat', 'dog', 'fox'],
    inputHeight: 32,
    inputWidth: 48,
    embeddingSize: 2,
    maxBatchSize: 4,
  });
});
