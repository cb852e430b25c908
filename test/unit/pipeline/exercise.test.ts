/** The line, exercised by fake processes that take their time on a fake clock. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { exercise } from '#vitserve/pipeline/exercise.js';
import { createLine, DECODED, EXECUTED, JPEG, type Line } from './line.js';

let line: Line;
beforeEach(() => {
  line = createLine({ permits: 8, maxBatchSize: 1 });
});
afterEach(() => line.close());

/** From here on the line answers by itself; one execution moves the clock on by `executionMs`. */
function answerAll(executionMs: number): void {
  line.decoder.onCall = () => line.decoder.answer(DECODED);
  line.inference.onCall = ([images]) => {
    line.clock.advance(executionMs);
    line.inference.answer((images ?? []).map(() => ({ ...EXECUTED, executionMs })));
  };
}

const run = (concurrency: number) => exercise(line.pipeline, line.permits, JPEG, concurrency, line.clock);

describe('the exercise', () => {
  for (const [executionMs, imagesPerSecond] of [
    [10, 100],
    [2, 500],
  ] as const) {
    test(`of a line that takes ${executionMs} ms an image finds ${imagesPerSecond} images a second`, async () => {
      answerAll(executionMs);
      const capacity = await run(4);
      assert.ok(Math.abs(capacity.imagesPerSecond - imagesPerSecond) < 1e-9);
      assert.equal(line.permits.inUse, 0);
    });
  }

  test('lets a slow line answer a few images for each place, but does not go on for ever', async () => {
    answerAll(1_000);
    const capacity = await run(2);
    assert.ok(Math.abs(capacity.imagesPerSecond - 1) < 1e-9);
    // One to begin with, two to warm up, four to measure; those that had begun by then are finished.
    assert.ok(line.inference.sent.length >= 7 && line.inference.sent.length <= 9);

    const before = line.clock.now();
    answerAll(20_000);
    await run(8);
    assert.ok(line.clock.now() - before < 400_000);
  });

  test('asks for predictions with the picture that it is given', async () => {
    answerAll(10);
    await run(1);
    for (const call of line.decoder.sent) assert.ok(call.kind === 'decode' && call.image === JPEG);
    for (const [image] of line.inference.sent) assert.equal(image?.topK, 5);
  });

  test('fails where the line can not answer', async () => {
    line.decoder.onCall = () => line.decoder.answer({ kind: 'refused', reason: 'INTERNAL', message: 'no memory' });
    await assert.rejects(run(2), /decoder: no memory/);
    assert.equal(line.permits.inUse, 0);
  });

  test('fails where there are fewer permits than images', async () => {
    answerAll(10);
    await assert.rejects(run(9), /fewer permits than images/);
  });
});
