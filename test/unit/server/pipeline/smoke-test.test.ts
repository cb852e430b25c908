/** Smoke tests and measurements with fake workers on a fake clock. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { measureThroughput, smokeTest } from '#vitserve/server/pipeline/smoke-test.js';
import { settled, watch } from '../../../support/fake-worker.js';
import { createStand, DECODED, EXECUTED, JPEG, type Stand } from './stand.js';

let stand: Stand;
beforeEach(() => {
  stand = createStand({ permits: 8, maxBatchSize: 1 });
});
afterEach(() => stand.close());

/** From here on the stand answers by itself; one execution moves the clock on by `executionMs`. */
function answerAll(executionMs: number): void {
  stand.decoder.onRun = () => stand.decoder.answer(DECODED);
  stand.inference.onRun = ([images]) => {
    stand.clock.advance(executionMs);
    stand.inference.answer(...(images ?? []).map(() => ({ ...EXECUTED, executionMs })));
  };
}

const options = (concurrency: number) => ({
  pipeline: stand.pipeline,
  model: stand.model,
  takePermit: async () => stand.permits.tryTake() ?? assert.fail('no permit is left'),
  picture: JPEG,
  concurrency,
  clock: stand.clock,
});
const run = (concurrency: number) => measureThroughput(options(concurrency));

describe('the measurement', () => {
  for (const [executionMs, imagesPerSecond] of [
    [10, 100],
    [2, 500],
  ] as const) {
    test(`of a model that takes ${executionMs} ms an image finds ${imagesPerSecond} images a second`, async () => {
      answerAll(executionMs);
      assert.ok(Math.abs((await run(4)) - imagesPerSecond) < 1e-9);
      assert.equal(stand.permits.inUse, 0);
    });
  }

  test('lets a slow model answer one image to begin with and one for each place, and no more', async () => {
    answerAll(1_000);
    assert.ok(Math.abs((await run(2)) - 1) < 1e-9);
    assert.equal(stand.inference.sent.length, 1 + 2);

    answerAll(250);
    assert.ok(Math.abs((await run(2)) - 4) < 1e-9);
    // Woken up with two or three of them, it is measured for a second; those that have begun by
    // then are finished.
    const more = stand.inference.sent.length - 3;
    assert.ok(more >= 1 + 2 + 4 && more <= 1 + 3 + 5, `${more} images`);
  });

  test('asks for predictions with the picture that it is given', async () => {
    answerAll(10);
    await run(1);
    for (const [request] of stand.decoder.sent) assert.equal(request?.image, JPEG);
    for (const [image] of stand.inference.sent) assert.equal(image?.topK, 5);
  });

  test('fails where the model cannot answer', async () => {
    stand.decoder.onRun = () =>
      stand.decoder.reply({ kind: 'rejected', reason: 'INTERNAL', message: 'no memory' });
    await assert.rejects(run(2), /decode: no memory/);
    assert.equal(stand.permits.inUse, 0);
  });
});

describe('the smoke test', () => {
  test('of a version takes as many images as are asked for, after one alone', async () => {
    answerAll(10);
    await smokeTest(options(3), 6);
    assert.equal(
      stand.decoder.sent.length,
      1 + 6 + 2,
      'those that had begun with the last one are finished',
    );
    assert.equal(stand.permits.inUse, 0);
  });

  test('of a version that cannot answer fails, with none of its images left', async () => {
    let answers = 0;
    stand.decoder.onRun = () => stand.decoder.answer(DECODED);
    stand.inference.onRun = () => {
      if (answers++ === 0) stand.inference.answer(EXECUTED);
      else stand.inference.fail(new Error(`broken ${answers}`));
    };
    await assert.rejects(smokeTest(options(4), 100), /broken 2/);
    assert.equal(stand.permits.inUse, 0);
    assert.ok(stand.decoder.sent.length <= 1 + 4, 'none follows the first failure');
  });

  test('is cancelled by its signal, even where no process takes an image any more', async () => {
    answerAll(10);
    stand.inference.lose();
    const leaving = new AbortController();
    const testing = watch(smokeTest({ ...options(4), signal: leaving.signal }, 100));
    for (let turn = 0; turn < 5; turn++) await settled();
    assert.equal(stand.permits.inUse, 1);
    assert.equal(testing.state.kind, 'open');
    leaving.abort(new Error('stopping'));
    await settled();
    assert.deepEqual(testing.state, { kind: 'rejected', error: leaving.signal.reason });
    assert.equal(stand.permits.inUse, 0);
    await assert.rejects(smokeTest({ ...options(4), signal: leaving.signal }, 100), /stopping/);
  });
});
