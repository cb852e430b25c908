/** Who uses a model: counted, so that it is not ended under an image. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { settled, watch } from '../../../support/fake-lane.js';
import { createLine, DECODED, EXECUTED, type Line } from '../pipeline/line.js';

let line: Line;
beforeEach(() => {
  line = createLine();
});
afterEach(() => line.close());

function deferred() {
  let resolve: (value: number) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<number>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}

describe('a model', () => {
  test('that nobody uses is unused at once', async () => {
    await line.model.unused();
  });

  test('is unused when the last of its users is done, whether he succeeds or fails', async () => {
    const [first, second] = [deferred(), deferred()];
    const works = [line.model.use(() => first.promise), line.model.use(() => second.promise)].map(
      watch,
    );
    const unused = watch(line.model.unused());
    first.resolve(1);
    await settled();
    assert.deepEqual(works[0]?.state, { kind: 'resolved', value: 1 });
    assert.equal(unused.state.kind, 'open');
    second.reject(new Error('broken'));
    await settled();
    assert.equal(works[1]?.state.kind, 'rejected');
    assert.equal(unused.state.kind, 'resolved');
  });

  test('is used by an image from before its decoding until after its answer', async () => {
    line.ask();
    const unused = watch(line.model.unused());
    await settled();
    line.decoder.answer(DECODED);
    await settled();
    assert.equal(unused.state.kind, 'open');
    line.inference.answer([EXECUTED]);
    await settled();
    assert.equal(unused.state.kind, 'resolved');
  });

  test('is not used any more by an image that was refused or has left', async () => {
    const leaving = new AbortController();
    line.ask({ image: Buffer.from('no picture') });
    line.ask({ signal: leaving.signal });
    const unused = watch(line.model.unused());
    await settled();
    assert.equal(unused.state.kind, 'open');
    leaving.abort(new Error('left'));
    line.decoder.answer({ kind: 'skipped' });
    await settled();
    assert.equal(unused.state.kind, 'resolved');
  });

  test('is ready while one of its processes is, and counts them all', () => {
    assert.deepEqual([line.model.ready, line.model.processes], [true, 1]);
    line.inference.lose();
    assert.deepEqual([line.model.ready, line.model.processes], [false, 1]);
  });
});
