/** Messages between the front and an inference process arrive unchanged. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  decodeCall,
  decodeReply,
  encodeCall,
  encodeReply,
  type InferenceOutput,
} from '#vitserve/workers/inference/messages.js';
import type { WorkResult } from '#vitserve/workers/worker.js';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const float = fc.float({ noNaN: true });

const images = fc.array(fc.record({ slot: u32, topK: u32, wantsEmbedding: fc.boolean() }), {
  maxLength: 40,
});

/** Results of one execution: all that were executed share its time and size. */
const results: fc.Arbitrary<WorkResult<InferenceOutput>[]> = fc
  .tuple(
    fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }),
    fc.integer({ min: 0, max: 65_535 }),
    fc.array(
      fc.option(
        fc.record({
          predictions: fc.array(fc.record({ classIndex: u32, score: float }), { maxLength: 8 }),
          embedding: fc.array(float, { maxLength: 8 }).map((values) => Float32Array.from(values)),
        }),
      ),
      { maxLength: 20 },
    ),
  )
  .map(([executionMs, batchSize, answers]) =>
    answers.map((answer) =>
      answer === null
        ? { kind: 'skipped' }
        : { kind: 'done', output: { ...answer, executionMs, batchSize } },
    ),
  );

describe('inference messages', () => {
  test('a call arrives as it was sent', () => {
    fc.assert(
      fc.property(images, (sent) => {
        assert.deepEqual(
          decodeCall(encodeCall(sent)),
          sent.map((image) => ({ ...image })),
        );
      }),
    );
  });

  test('a reply arrives as it was sent, skipped images between the others included', () => {
    fc.assert(
      fc.property(results, (sent) => {
        assert.deepEqual(
          decodeReply(encodeReply(sent), sent.length).map((result) => JSON.stringify(result)),
          sent.map((result) => JSON.stringify(result)),
        );
      }),
    );
  });

  test('a reply with another number of images, cut or with an invalid time is an error', () => {
    const skipped = encodeReply([{ kind: 'skipped' }, { kind: 'skipped' }]);
    assert.throws(() => decodeReply(skipped, 1), /^Error: results of 2 images instead of 1$/);
    assert.throws(() => decodeReply(skipped, 3), /^Error: results of 2 images instead of 3$/);
    assert.throws(() => decodeReply(skipped.subarray(0, 13), 2), RangeError);
    skipped.writeDoubleLE(Number.NaN, 0);
    assert.throws(() => decodeReply(skipped, 2));
  });

  test('an image costs 9 bytes on the way there and a prediction 8 on the way back', () => {
    const image = { slot: 1, topK: 1, wantsEmbedding: false };
    assert.deepEqual([encodeCall([]).length, encodeCall([image, image]).length], [2, 20]);
    const executed = (count: number): WorkResult<InferenceOutput> => ({
      kind: 'done',
      output: {
        predictions: Array.from({ length: count }, (_, classIndex) => ({ classIndex, score: 0 })),
        embedding: new Float32Array(),
        executionMs: 1,
        batchSize: 1,
      },
    });
    assert.equal(encodeReply([executed(5)]).length - encodeReply([executed(4)]).length, 8);
    assert.equal(encodeReply([{ kind: 'skipped' }]).length, 13);
  });
});
