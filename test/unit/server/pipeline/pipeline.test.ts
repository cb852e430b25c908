/** The straight line, when all goes well and when an image is refused or leaves. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { settled } from '../../../support/fake-lane.js';
import { createLine, DECODED, EXECUTED, JPEG, type Line, MAX_IMAGE_BYTES, PLAN } from './line.js';

let line: Line;
beforeEach(() => {
  line = createLine();
});
afterEach(() => line.close());

type Asked = ReturnType<Line['ask']>;

/** The error that an image was answered with; its permit must have been given back, once. */
function errorOf({ outcome, releases }: Asked): unknown {
  assert.ok(outcome.state.kind === 'rejected', `the image is ${outcome.state.kind}`);
  assert.equal(releases.count, 1);
  assert.equal(line.permits.inUse, 0);
  return outcome.state.error;
}

function requestErrorOf(asked: Asked): RequestError {
  const error = errorOf(asked);
  assert.ok(error instanceof RequestError, String(error));
  return error;
}

describe('an image', () => {
  test('is decoded, executed and answered with what the graph said and where the time went', async () => {
    const asked = line.ask({ topK: 2, wantsEmbedding: true, arrivedAt: 990, expiresAt: 1_500 });
    const { slot } = asked.permit;
    assert.deepEqual(line.decoder.pending, [{ kind: 'decode', slot, image: JPEG, plan: PLAN }]);
    line.clock.advance(10);
    line.decoder.answer(DECODED);
    await settled();
    assert.deepEqual(line.inference.pending, [[{ slot, topK: 2, wantsEmbedding: true }]]);
    assert.equal(asked.releases.count, 0);
    line.clock.advance(20);
    line.inference.answer([{ ...EXECUTED, embedding: [1, 2], batchSize: 3 }]);
    await settled();
    assert.deepEqual(asked.outcome.state, {
      kind: 'resolved',
      value: {
        predictions: [{ classIndex: 3, score: 0.75 }],
        embedding: [1, 2],
        decodeMs: 5,
        // In the line for 1030 − 990 ms, 5 of them being decoded and 7 executed.
        queueMs: 28,
        inferenceMs: 7,
        batchSize: 3,
      },
    });
    assert.equal(asked.releases.count, 1);
    assert.equal(line.permits.inUse, 0);
    assert.deepEqual(line.events, [
      'decoded jpeg turbojpeg 5',
      'executed small 3 7',
      'answered 28 470',
    ]);
  });

  test('without a deadline has no slack to report', async () => {
    line.ask();
    line.decoder.answer(DECODED);
    await settled();
    line.inference.answer([EXECUTED]);
    await settled();
    assert.equal(line.events.at(-1), 'answered 0 null');
  });

  test('never waited less than nothing, even where the clocks of the processes say so', async () => {
    const asked = line.ask();
    line.decoder.answer({ ...DECODED, decodeMs: 1_000 });
    await settled();
    line.inference.answer([EXECUTED]);
    await settled();
    assert.ok(asked.outcome.state.kind === 'resolved');
    assert.equal(asked.outcome.state.value.queueMs, 0);
  });

  test('is executed together with the others that were decoded meanwhile, and each gets its own answer', async () => {
    const images = [line.ask(), line.ask(), line.ask()];
    for (const _ of images) {
      line.decoder.answer(DECODED);
      await settled();
    }
    assert.deepEqual(
      line.inference.sent.map((batch) => batch.length),
      [1],
    );
    line.inference.answer([EXECUTED]);
    await settled();
    assert.deepEqual(
      line.inference.pending.map((batch) => batch.map(({ slot }) => slot)),
      [images.slice(1).map(({ permit }) => permit.slot)],
    );
    const predictions = [4, 5].map((classIndex) => [{ classIndex, score: 0.5 }]);
    line.inference.answer(
      predictions.map((of) => ({ ...EXECUTED, predictions: of, batchSize: 2 })),
    );
    await settled();
    assert.deepEqual(
      images
        .slice(1)
        .map(({ outcome }) => outcome.state.kind === 'resolved' && outcome.state.value.predictions),
      predictions,
    );
    assert.deepEqual(
      line.events.filter((event) => event.startsWith('executed')),
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
      line.ask({ image });
      assert.deepEqual(line.decoder.pending, [{ kind: 'decode', slot: 0, image, plan: PLAN }]);
    });
  }
});

describe('an image is refused before it costs a decode', () => {
  test('when it is empty', async () => {
    const asked = line.ask({ image: Buffer.alloc(0) });
    await settled();
    assert.equal(requestErrorOf(asked).reason, 'IMAGE_EMPTY');
    assert.deepEqual(line.decoder.sent, []);
  });

  test('when it has more bytes than the limit; one byte less is fine', async () => {
    const image = Buffer.concat([JPEG, Buffer.alloc(MAX_IMAGE_BYTES + 1 - JPEG.length)]);
    const asked = line.ask({ image });
    await settled();
    const { reason, message } = requestErrorOf(asked);
    assert.equal(reason, 'IMAGE_TOO_LARGE');
    assert.match(message, /has 65 bytes[,;] the limit is 64: send a smaller file$/);
    assert.deepEqual(line.decoder.sent, []);
    line.ask({ image: image.subarray(0, MAX_IMAGE_BYTES) });
    assert.equal(line.decoder.sent.length, 1);
  });

  for (const [what, bytes, text] of [
    ['is of another format', 'GIF89a', /looks like gif: send a JPEG, PNG or WebP file/i],
    ['is text', 'not a picture', /is text: send a JPEG, PNG or WebP file/],
  ] as const) {
    test(`when it ${what}`, async () => {
      const asked = line.ask({ image: Buffer.from(bytes) });
      await settled();
      const { reason, message } = requestErrorOf(asked);
      assert.equal(reason, 'IMAGE_UNSUPPORTED');
      assert.match(message, text);
      assert.deepEqual(line.decoder.sent, []);
    });
  }
});

describe('a decoder', () => {
  test('that refuses an image says why, and the caller is told so', async () => {
    const asked = line.ask();
    line.decoder.answer({ kind: 'refused', reason: 'IMAGE_UNDECODABLE', message: 'truncated' });
    await settled();
    const { reason, message } = requestErrorOf(asked);
    assert.deepEqual([reason, message], ['IMAGE_UNDECODABLE', 'truncated']);
    assert.deepEqual(line.inference.sent, []);
    assert.deepEqual(line.events, []);
  });

  test('that is itself at fault makes no error of the table', async () => {
    const asked = line.ask();
    line.decoder.answer({ kind: 'refused', reason: 'INTERNAL', message: 'no such file' });
    await settled();
    const error = errorOf(asked);
    assert.ok(error instanceof Error && !(error instanceof RequestError));
    assert.equal(error.message, 'decoder: no such file');
  });

  test('that answers with a drawing instead is at fault', async () => {
    const asked = line.ask();
    line.decoder.answer({ kind: 'drawn', jpeg: JPEG });
    await settled();
    assert.match(String(errorOf(asked)), /drew where it should have decoded/);
  });
});

test('an execution that fails is the answer of its image, as it is', async () => {
  const asked = line.ask();
  line.decoder.answer(DECODED);
  await settled();
  const error = new Error('the graph is broken');
  line.inference.fail(error);
  await settled();
  assert.equal(errorOf(asked), error);
});
