/** The line, exercised by fake processes that take their time on a fake clock. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { exercise, prove } from '#vitserve/server/pipeline/exercise.js';
import { settled, watch } from '../../../support/fake-lane.js';
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

const options = (concurrency: number) => ({
  pipeline: line.pipeline,
  line: line.model,
  takePermit: async () => line.permits.tryTake() ?? assert.fail('no permit is left'),
  picture: JPEG,
  concurrency,
  clock: line.clock,
});
const run = (concurrency: number) => exercise(options(concurrency));

describe('the exercise', () => {
  for (const [executionMs, imagesPerSecond] of [
    [10, 100],
    [2, 500],
  ] as const) {
    test(`of a line that takes ${executionMs} ms an image finds ${imagesPerSecond} images a second`, async () => {
      answerAll(executionMs);
      assert.ok(Math.abs((await run(4)) - imagesPerSecond) < 1e-9);
      assert.equal(line.permits.inUse, 0);
    });
  }

  test('lets a slow line answer one image to begin with and one for each place, and no more', async () => {
    answerAll(1_000);
    assert.ok(Math.abs((await run(2)) - 1) < 1e-9);
    assert.equal(line.inference.sent.length, 1 + 2);

    answerAll(250);
    assert.ok(Math.abs((await run(2)) - 4) < 1e-9);
    // Woken up with two or three of them, it is measured for a second; those that have begun by
    // then are finished.
    const more = line.inference.sent.length - 3;
    assert.ok(more >= 1 + 2 + 4 && more <= 1 + 3 + 5, `${more} images`);
  });

  test('asks for predictions with the picture that it is given', async () => {
    answerAll(10);
    await run(1);
    for (const call of line.decoder.sent) assert.ok(call.kind === 'decode' && call.image === JPEG);
    for (const [image] of line.inference.sent) assert.equal(image?.topK, 5);
  });

  test('fails where the line can not answer', async () => {
    line.decoder.onCall = () =>
      line.decoder.answer({ kind: 'refused', reason: 'INTERNAL', message: 'no memory' });
    await assert.rejects(run(2), /decoder: no memory/);
    assert.equal(line.permits.inUse, 0);
  });
});

describe('the proof', () => {
  test('of a version takes as many images as are asked for, after one alone', async () => {
    answerAll(10);
    await prove(options(3), 6);
    assert.equal(
      line.decoder.sent.length,
      1 + 6 + 2,
      'those that had begun with the last one are finished',
    );
    assert.equal(line.permits.inUse, 0);
  });

  test('of a version that can not answer fails, with none of its images left', async () => {
    let answers = 0;
    line.decoder.onCall = () => line.decoder.answer(DECODED);
    line.inference.onCall = () => {
      if (answers++ === 0) line.inference.answer([EXECUTED]);
      else line.inference.fail(new Error(`broken ${answers}`));
    };
    await assert.rejects(prove(options(4), 100), /broken 2/);
    assert.equal(line.permits.inUse, 0);
    assert.ok(line.decoder.sent.length <= 1 + 4, 'nobody goes on after the first failure');
  });

  test('is given up when the signal says so, also where no process takes an image any more', async () => {
    answerAll(10);
    line.inference.lose();
    const leaving = new AbortController();
    const proof = watch(prove({ ...options(4), signal: leaving.signal }, 100));
    for (let turn = 0; turn < 5; turn++) await settled();
    assert.equal(line.permits.inUse, 1);
    assert.equal(proof.state.kind, 'open');
    leaving.abort(new Error('stopping'));
    await settled();
    assert.deepEqual(proof.state, { kind: 'rejected', error: leaving.signal.reason });
    assert.equal(line.permits.inUse, 0);
    await assert.rejects(prove({ ...options(4), signal: leaving.signal }, 100), /stopping/);
  });
});
