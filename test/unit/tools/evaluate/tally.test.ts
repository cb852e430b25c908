import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Comparison, marginOf, Tally } from '#vitserve/tools/evaluate/tally.js';

const close = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-6, `${actual} instead of ${expected}`);

describe('the figures of a model', () => {
  const tally = new Tally();
  const answers = [
    tally.add(0, Float32Array.of(0.75, 0.25, 0)),
    tally.add(0, Float32Array.of(0.25, 0.75, 0)),
    tally.add(2, Float32Array.of(0.5, 0.5, 0)),
    tally.add(2, Float32Array.of(0, 0, 1)),
  ];
  const figures = tally.figures();

  test('count what comes first; of equal scores that is the lower index', () => {
    assert.deepEqual(answers, [
      { first: 0, right: true },
      { first: 1, right: false },
      { first: 0, right: false },
      { first: 2, right: true },
    ]);
    assert.deepEqual([figures.images, figures.right, figures.rightInFive], [4, 2, 4]);
  });

  test('say which classes are taken for which', () => {
    assert.deepEqual(figures.classes, [
      { index: 0, images: 2, right: 1, takenFor: [{ index: 1, images: 1 }] },
      { index: 2, images: 2, right: 1, takenFor: [{ index: 0, images: 1 }] },
    ]);
  });

  test('have the mean loss, confidence and calibration error', () => {
    close(figures.loss, (-Math.log(0.75) - Math.log(0.25) - Math.log(1e-12) - 0) / 4);
    close(figures.confidence, (0.75 + 0.75 + 0.5 + 1) / 4);
    // Bins: 0.75 twice with one right, 0.5 once and wrong, 1 once and right.
    close(figures.calibrationError, (0.5 + 0.5 + 0) / 4);
  });
});

test('the first five count by their order, not by their values', () => {
  const tally = new Tally();
  const scores = Float32Array.of(0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1);
  for (let truth = 0; truth < scores.length; truth++) tally.add(truth, scores);
  assert.equal(tally.figures().rightInFive, 5);
});

test('two models are compared image by image', () => {
  const comparison = new Comparison();
  const [right, wrong] = [
    { first: 0, right: true },
    { first: 1, right: false },
  ];
  for (let image = 0; image < 90; image++) comparison.add(right, right);
  for (let image = 0; image < 6; image++) comparison.add(right, wrong);
  for (let image = 0; image < 4; image++) comparison.add(wrong, right);
  assert.deepEqual(
    [comparison.images, comparison.sameFirst, comparison.onlyOne, comparison.onlyOther],
    [100, 90, 6, 4],
  );
  close(comparison.margin, (1.96 * Math.sqrt(10 - 4 / 100)) / 100);
});

test('an interval is that of Wilson, which has a width at 0 and 1 too', () => {
  // Of 8 in 10: 0.4902 to 0.9433.
  close(Number(marginOf(0.8, 10).toFixed(4)), 0.2266);
  assert.ok(marginOf(1, 10) > 0.1);
});
