/** The whole pipeline, when all goes well and when an image is rejected. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { queueMsOf } from '#vitserve/server/telemetry/record.js';
import { settled } from '../../../support/fake-worker.js';
import {
  createStand,
  DECODED,
  EXECUTED,
  JPEG,
  MAX_IMAGE_BYTES,
  PLAN,
  type Stand,
} from './stand.js';

let stand: Stand;
beforeEach(() => {
  stand = createStand();
});
afterEach(() => stand.close());

type Asked = ReturnType<Stand['ask']>;

/** The error that an image was answered with; its permit must have been given back, once. */
function errorOf({ outcome, releases }: Asked): unknown {
  assert.ok(outcome.state.kind === 'rejected', `the image is ${outcome.state.kind}`);
  assert.equal(releases.count, 1);
  assert.equal(stand.permits.inUse, 0);
  return outcome.state.error;
}

function requestErrorOf(asked: Asked): RequestError {
  const error = errorOf(asked);
  assert.ok(error instanceof RequestError, String(error));
  return error;
}

describe('an image', () => {
  test('is decoded, executed and answered with what the graph said and where the time went', async () => {
    const asked = stand.ask({ topK: 2, wantsEmbedding: true, arrivedAt: 990, expiresAt: 1_500 });
    const { slot } = asked.permit;
    assert.deepEqual(stand.decoder.pending, [[{ slot, image: JPEG, plan: PLAN }]]);
    stand.clock.advance(10);
    stand.decoder.answer(DECODED);
    await settled();
    assert.deepEqual(stand.inference.pending, [[{ slot, topK: 2, wantsEmbedding: true }]]);
    assert.equal(asked.releases.count, 0);
    stand.clock.advance(20);
    const output = { ...EXECUTED, embedding: Float32Array.of(1, 2), batchSize: 3 };
    stand.inference.answer(output);
    await settled();
    assert.deepEqual(asked.outcome.state, { kind: 'resolved', value: output });
    const { decoded, executed } = asked.request.record;
    assert.deepEqual(decoded, { ...DECODED, at: 1_010 });
    assert.deepEqual(executed, { at: 1_030, executionMs: 7, batchSize: 3 });
    assert.equal(asked.releases.count, 1);
    assert.equal(stand.permits.inUse, 0);
    assert.deepEqual(stand.events, [
      'decoded jpeg turbojpeg 5',
      'executed small 3 7',
      // In the pipeline for 1030 − 990 ms, 5 of them being decoded and 7 executed.
      'answered 28 470',
    ]);
  });

  test('without a deadline has no slack to report', async () => {
    stand.ask();
    stand.decoder.answer(DECODED);
    await settled();
    stand.inference.answer(EXECUTED);
    await settled();
    assert.equal(stand.events.at(-1), 'answered 0 Infinity');
  });

  test('never waited less than nothing, even where the clocks of the processes say so', async () => {
    const asked = stand.ask();
    stand.decoder.answer({ ...DECODED, decodeMs: 1_000 });
    await settled();
    stand.inference.answer(EXECUTED);
    await settled();
    assert.ok(asked.outcome.state.kind === 'resolved');
    assert.equal(queueMsOf(asked.request.record, 1_000), 0);
  });

  test('is executed together with the others that were decoded meanwhile, and each gets its own answer', async () => {
    const images = [stand.ask(), stand.ask(), stand.ask()];
    for (const _ of images) {
      stand.decoder.answer(DECODED);
      await settled();
    }
    assert.deepEqual(
      stand.inference.sent.map((batch) => batch.length),
      [1],
    );
    stand.inference.answer(EXECUTED);
    await settled();
    assert.deepEqual(
      stand.inference.pending.map((batch) => batch.map(({ slot }) => slot)),
      [images.slice(1).map(({ permit }) => permit.slot)],
    );
    const predictions = [4, 5].map((classIndex) => [{ classIndex, score: 0.5 }]);
    stand.inference.answer(
      ...predictions.map((of) => ({ ...EXECUTED, predictions: of, batchSize: 2 })),
    );
    await settled();
    assert.deepEqual(
      images
        .slice(1)
        .map(({ outcome }) => outcome.state.kind === 'resolved' && outcome.state.value.predictions),
      predictions,
    );
    assert.deepEqual(
      stand.events.filter((event) => event.startsWith('executed')),
      ['executed small 1 7', 'executed small 2 7'],
      'an execution is told once, however many images it had',
    );
  });

  for (const [name, head] of [
    ['PNG', '\x89PNG\r\n\x1a\n'],
    ['WebP', 'RIFF\0\0\0\0WEBPVP8 '],
  ] as const) {
    test(`may be a ${name} file`, () => {
      const image = Buffer.from(head, 'latin1');
      stand.ask({ image });
      assert.deepEqual(stand.decoder.pending, [[{ slot: 0, image, plan: PLAN }]]);
    });
  }
});

describe('an image is rejected before it is decoded', () => {
  test('when it is empty', async () => {
    const asked = stand.ask({ image: Buffer.alloc(0) });
    await settled();
    assert.equal(requestErrorOf(asked).reason, 'IMAGE_EMPTY');
    assert.deepEqual(stand.decoder.sent, []);
  });

  test('when it has more bytes than the limit; one byte less is fine', async () => {
    const image = Buffer.concat([JPEG, Buffer.alloc(MAX_IMAGE_BYTES + 1 - JPEG.length)]);
    const asked = stand.ask({ image });
    await settled();
    const { reason, message } = requestErrorOf(asked);
    assert.equal(reason, 'IMAGE_TOO_LARGE');
    assert.match(message, /has 65 bytes[,;] the limit is 64: send a smaller file$/);
    assert.deepEqual(stand.decoder.sent, []);
    stand.ask({ image: image.subarray(0, MAX_IMAGE_BYTES) });
    assert.equal(stand.decoder.sent.length, 1);
  });

  for (const [what, bytes, text] of [
    ['is of another format', 'GIF89a', /looks like gif: send a JPEG, PNG or WebP file/i],
    ['is text', 'not a picture', /is text: send a JPEG, PNG or WebP file/],
  ] as const) {
    test(`when it ${what}`, async () => {
      const asked = stand.ask({ image: Buffer.from(bytes) });
      await settled();
      const { reason, message } = requestErrorOf(asked);
      assert.equal(reason, 'IMAGE_UNSUPPORTED');
      assert.match(message, text);
      assert.deepEqual(stand.decoder.sent, []);
    });
  }
});

describe('a decoder', () => {
  test('that rejects an image says why, and so does the answer', async () => {
    const asked = stand.ask();
    stand.decoder.reply({ kind: 'rejected', reason: 'IMAGE_UNDECODABLE', message: 'truncated' });
    await settled();
    const { reason, message } = requestErrorOf(asked);
    assert.deepEqual([reason, message], ['IMAGE_UNDECODABLE', 'truncated']);
    assert.deepEqual(stand.inference.sent, []);
    assert.deepEqual(stand.events, []);
  });

  test('that is itself at fault does not cause an error of the table', async () => {
    const asked = stand.ask();
    stand.decoder.reply({ kind: 'rejected', reason: 'INTERNAL', message: 'no such file' });
    await settled();
    const error = errorOf(asked);
    assert.ok(error instanceof Error && !(error instanceof RequestError));
    assert.equal(error.message, 'decode: no such file');
  });
});

test('an execution that fails is the answer of its image, as it is', async () => {
  const asked = stand.ask();
  stand.decoder.answer(DECODED);
  await settled();
  const error = new Error('the graph is broken');
  stand.inference.fail(error);
  await settled();
  assert.equal(errorOf(asked), error);
});
