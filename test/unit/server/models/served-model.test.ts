/** The users of a model: counted, so that it does not stop under an image. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { settled, watch } from '../../../support/fake-worker.js';
import { createStand, DECODED, EXECUTED, type Stand } from '../pipeline/stand.js';

let stand: Stand;
beforeEach(() => {
  stand = createStand();
});
afterEach(() => stand.close());

function deferred() {
  let resolve: (value: number) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<number>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}

describe('a model', () => {
  test('without users is unused at once', async () => {
    await stand.model.unused();
  });

  test('is unused when the last of its users has succeeded or failed', async () => {
    const [first, second] = [deferred(), deferred()];
    const works = [stand.model.use(() => first.promise), stand.model.use(() => second.promise)].map(
      watch,
    );
    const unused = watch(stand.model.unused());
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
    stand.ask();
    const unused = watch(stand.model.unused());
    await settled();
    stand.decoder.answer(DECODED);
    await settled();
    assert.equal(unused.state.kind, 'open');
    stand.inference.answer(EXECUTED);
    await settled();
    assert.equal(unused.state.kind, 'resolved');
  });

  test('is no longer used by a rejected or cancelled image', async () => {
    const leaving = new AbortController();
    stand.ask({ image: Buffer.from('no picture') });
    stand.ask({ signal: leaving.signal });
    const unused = watch(stand.model.unused());
    await settled();
    assert.equal(unused.state.kind, 'open');
    leaving.abort(new Error('left'));
    stand.decoder.reply({ kind: 'skipped' });
    await settled();
    assert.equal(unused.state.kind, 'resolved');
  });

  test('is ready while one of its processes is, and counts them all', () => {
    assert.deepEqual([stand.model.inference.ready, stand.model.inference.workers], [true, 1]);
    stand.inference.lose();
    assert.deepEqual([stand.model.inference.ready, stand.model.inference.workers], [false, 1]);
  });
});
