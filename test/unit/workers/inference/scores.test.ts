/** From logits to the best classes. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { activate } from '#vitserve/workers/inference/activation.js';
import { topK } from '#vitserve/workers/inference/top-k.js';

const row = fc.float32Array({ noNaN: true, minLength: 1, maxLength: 60 });
/** Few different values, so that many scores are equal. */
const rowOfTies = fc
  .array(fc.constantFrom(0, 0.25, 0.5), { minLength: 1, maxLength: 60 })
  .map((values) => Float32Array.from(values));

describe('topK', () => {
  test('is the head of the sorted row, equal scores by class index', () => {
    fc.assert(
      fc.property(fc.oneof(row, rowOfTies), fc.integer({ min: 0, max: 70 }), (scores, k) => {
        const sorted = Array.from(scores, (score, classIndex) => ({ classIndex, score }));
        sorted.sort((a, b) =>
          a.score === b.score ? a.classIndex - b.classIndex : b.score - a.score,
        );
        assert.deepEqual(topK(scores, k), sorted.slice(0, k));
      }),
    );
  });

  test('of a row without classes is empty', () => {
    assert.deepEqual(topK(new Float32Array(0), 5), []);
  });
});

describe('softmax', () => {
  const softmax = (values: readonly number[]) => {
    const scores = Float32Array.from(values);
    activate(scores, 1, values.length, 'softmax');
    return [...scores];
  };

  test('gives the exponentials divided by their sum', () => {
    const exponentials = [1, 2, 3].map(Math.exp);
    const sum = exponentials.reduce((a, b) => a + b);
    assert.deepEqual(
      softmax([1, 2, 3]),
      exponentials.map((value) => Math.fround(value / sum)),
    );
  });

  test('does not overflow and does not lose small rows', () => {
    assert.deepEqual(softmax([10_000, 10_000]), [0.5, 0.5]);
    assert.deepEqual(softmax([-10_000, -10_000, -10_000, -10_000]), [0.25, 0.25, 0.25, 0.25]);
    assert.deepEqual(softmax([3e38, -3e38]), [1, 0]);
  });

  test('sums to one and keeps the order, for any logits', () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ noNaN: true, min: -50, max: 50 }), { minLength: 1, maxLength: 50 }),
        (logits) => {
          const scores = softmax(logits);
          assert.ok(Math.abs(scores.reduce((a, b) => a + b) - 1) < 1e-5);
          for (let index = 1; index < logits.length; index++) {
            const [a = 0, b = 0] = [logits[index - 1], logits[index]];
            if (a < b) assert.ok((scores[index - 1] ?? 0) <= (scores[index] ?? 0));
          }
        },
      ),
    );
  });
});

describe('activation', () => {
  test('works row by row', () => {
    const scores = Float32Array.from([0, 0, 100, 0, 0, 0]);
    activate(scores, 3, 2, 'softmax');
    assert.deepEqual([...scores], [0.5, 0.5, 1, Math.fround(Math.exp(-100)), 0.5, 0.5]);
  });

  test('leaves what lies behind the rows unchanged', () => {
    const scores = Float32Array.from([0, 0, 7, 7]);
    activate(scores, 1, 2, 'softmax');
    assert.deepEqual([...scores], [0.5, 0.5, 7, 7]);
  });

  test('sigmoid takes each class by itself', () => {
    const scores = Float32Array.from([0, Math.log(3), -Math.log(3), 1_000, -1_000]);
    activate(scores, 1, 5, 'sigmoid');
    assert.deepEqual(
      [...scores].map((score) => Math.round(score * 1e6) / 1e6),
      [0.5, 0.75, 0.25, 1, 0],
    );
  });

  test('none changes nothing', () => {
    const scores = Float32Array.from([3, -1, 12]);
    activate(scores, 1, 3, 'none');
    assert.deepEqual([...scores], [3, -1, 12]);
  });
});
