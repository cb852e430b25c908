/** Cancelled images, and images whose process is lost. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { MAX_ATTEMPTS } from '#vitserve/server/scheduling/dispatcher.js';
import { ProcessLostError } from '#vitserve/workers/worker.js';
import { type FakeWorker, settled } from '../../../support/fake-worker.js';
import { createStand, DECODED, EXECUTED, type Stand } from './stand.js';

let stand: Stand;
beforeEach(() => {
  stand = createStand();
});
afterEach(() => stand.close());

const CANCELLED = new RequestError('CANCELLED', 'the caller has left');
const EXPIRED = new RequestError('DEADLINE_EXCEEDED', 'the deadline passed');

/** The error of an image that has ended with its permit given back once. */
function errorOf({ outcome, releases }: ReturnType<Stand['ask']>): unknown {
  assert.ok(outcome.state.kind === 'rejected', `the image is ${outcome.state.kind}`);
  assert.equal(releases.count, 1);
  return outcome.state.error;
}

/** Gives the decoder another image. */
function fillDecoder(): void {
  stand.ask();
}

describe('a cancelled image', () => {
  test('while it waits for a decoder is never decoded', async () => {
    fillDecoder();
    const leaving = new AbortController();
    const asked = stand.ask({ signal: leaving.signal });
    leaving.abort(CANCELLED);
    await settled();
    assert.equal(errorOf(asked), CANCELLED);
    assert.equal(stand.decoder.sent.length, 1);
    assert.deepEqual(stand.events, ['dropped decode cancelled']);
  });

  test('counts as expired where its deadline passed', async () => {
    fillDecoder();
    const leaving = new AbortController();
    const asked = stand.ask({ signal: leaving.signal });
    leaving.abort(EXPIRED);
    await settled();
    assert.equal(errorOf(asked), EXPIRED);
    assert.deepEqual(stand.events, ['dropped decode expired']);
  });

  test('that was cancelled before it came costs no work', async () => {
    const asked = stand.ask({ signal: AbortSignal.abort(CANCELLED) });
    await settled();
    assert.equal(errorOf(asked), CANCELLED);
    assert.deepEqual(stand.decoder.sent, []);
    assert.deepEqual(stand.events, ['dropped decode cancelled']);
  });

  test('while it is decoded is cancelled in its slot, and keeps its permit until the decoder has answered', async () => {
    const leaving = new AbortController();
    const asked = stand.ask({ signal: leaving.signal });
    const { slot } = asked.permit;
    assert.equal(stand.slots.isWanted(slot, 1_000), true);
    leaving.abort(CANCELLED);
    await settled();
    assert.equal(stand.slots.isWanted(slot, 1_000), false);
    assert.equal(asked.releases.count, 0, 'the decoder may still write to the slot');
    stand.decoder.reply({ kind: 'skipped' });
    await settled();
    assert.equal(errorOf(asked), CANCELLED);
    assert.deepEqual(stand.events, ['dropped decode cancelled']);
  });

  test('while it is decoded is not executed afterwards', async () => {
    const leaving = new AbortController();
    const asked = stand.ask({ signal: leaving.signal });
    leaving.abort(CANCELLED);
    stand.decoder.answer(DECODED);
    await settled();
    assert.equal(errorOf(asked), CANCELLED);
    assert.deepEqual(stand.inference.sent, []);
    assert.deepEqual(stand.events, ['decoded jpeg turbojpeg 5', 'dropped batch cancelled']);
  });

  test('while its batch waits is skipped by the inference process', async () => {
    const leaving = new AbortController();
    const asked = stand.ask({ signal: leaving.signal });
    stand.decoder.answer(DECODED);
    await settled();
    leaving.abort(EXPIRED);
    assert.equal(stand.slots.isWanted(asked.permit.slot, 1_000), false);
    stand.inference.reply({ kind: 'skipped' });
    await settled();
    assert.equal(errorOf(asked), EXPIRED);
    assert.deepEqual(stand.events, ['decoded jpeg turbojpeg 5', 'dropped batch expired']);
  });

  test('after it was answered does not touch the slot, which may be another image’s by then', async () => {
    const leaving = new AbortController();
    const first = stand.ask({ signal: leaving.signal });
    stand.decoder.answer(DECODED);
    await settled();
    stand.inference.answer(EXECUTED);
    await settled();
    const second = stand.ask();
    assert.equal(second.permit.slot, first.permit.slot);
    leaving.abort(CANCELLED);
    assert.equal(stand.slots.isWanted(second.permit.slot, 1_000), true);
  });
});

describe('an image whose deadline has passed', () => {
  test('is not wanted in its slot from that moment on', () => {
    const { permit } = stand.ask({ expiresAt: 1_200 });
    assert.equal(stand.slots.isWanted(permit.slot, 1_199), true);
    assert.equal(stand.slots.isWanted(permit.slot, 1_200), false);
  });

  test('is answered with DEADLINE_EXCEEDED where a process skips it before the signal says so', async () => {
    const asked = stand.ask({ expiresAt: 1_200 });
    stand.decoder.reply({ kind: 'skipped' });
    await settled();
    const error = errorOf(asked);
    assert.ok(error instanceof RequestError);
    assert.equal(error.reason, 'DEADLINE_EXCEEDED');
    assert.deepEqual(stand.events, ['dropped decode expired']);
  });
});

describe('an image whose process is lost', () => {
  /** Loses the process as often as an image is given to one. */
  async function loseAllAttempts(
    worker: Pick<FakeWorker<never, never>, 'lose' | 'recover'>,
  ): Promise<void> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      worker.lose();
      await settled();
      worker.recover();
    }
  }

  test('is decoded by another one', async () => {
    const asked = stand.ask();
    stand.decoder.lose();
    await settled();
    stand.decoder.recover();
    stand.decoder.answer(DECODED);
    await settled();
    stand.inference.answer(EXECUTED);
    await settled();
    assert.equal(asked.outcome.state.kind, 'resolved');
    assert.equal(asked.releases.count, 1);
    assert.equal(stand.events[0], 'retried decode');
  });

  test('gives PROCESS_LOST when all its decoders were lost', async () => {
    const asked = stand.ask();
    await loseAllAttempts(stand.decoder);
    const error = errorOf(asked);
    assert.ok(error instanceof RequestError);
    assert.equal(error.reason, 'PROCESS_LOST');
    assert.ok(error.cause instanceof ProcessLostError);
    assert.deepEqual(stand.events, ['retried decode', 'retried decode']);
    assert.equal(stand.permits.inUse, 0);
  });

  test('gives PROCESS_LOST when all its inference processes were lost', async () => {
    const asked = stand.ask();
    stand.decoder.answer(DECODED);
    await settled();
    await loseAllAttempts(stand.inference);
    const error = errorOf(asked);
    assert.ok(error instanceof RequestError);
    assert.equal(error.reason, 'PROCESS_LOST');
    assert.deepEqual(stand.events, ['decoded jpeg turbojpeg 5', 'retried batch', 'retried batch']);
  });
});

test('a slot that was cancelled is wanted again by the next image that gets it', async () => {
  const leaving = new AbortController();
  const first = stand.ask({ signal: leaving.signal });
  leaving.abort(CANCELLED);
  stand.decoder.reply({ kind: 'skipped' });
  await settled();
  const second = stand.ask();
  assert.equal(second.permit.slot, first.permit.slot);
  assert.equal(stand.slots.isWanted(second.permit.slot, 1_000), true);
});
