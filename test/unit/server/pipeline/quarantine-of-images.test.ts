/** The path of an image that ends the processes which work on it. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { REMEMBERED_MS } from '#vitserve/server/scheduling/quarantine.js';
import { settled } from '../../../support/fake-worker.js';
import { type Asking, createStand, DECODED, EXECUTED, JPEG, type Stand } from './stand.js';

let stand: Stand;
beforeEach(() => {
  stand = createStand();
});
afterEach(() => stand.close());

type Asked = ReturnType<Stand['ask']>;
type Stage = 'decoder' | 'inference';

const OTHER = Buffer.concat([JPEG, Buffer.of(9)]);

function reasonOf({ outcome: { state } }: Asked): string {
  if (state.kind !== 'rejected') return state.kind;
  return state.error instanceof RequestError ? state.error.reason : String(state.error);
}

/** An image that has come as far as this stage. */
async function askAt(stage: Stage, request: Asking = {}): Promise<Asked> {
  const asked = stand.ask(request);
  if (stage === 'inference') {
    await settled();
    stand.decoder.answer(DECODED);
  }
  await settled();
  return asked;
}

async function lose(
  stage: Stage,
  how: { selfInflicted: boolean; usedUp?: boolean },
): Promise<void> {
  stand[stage].lose(how);
  await settled();
  stand[stage].recover();
  await settled();
}

/** Whatever is asked is answered. */
async function answerAll(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) {
    while (stand.decoder.inFlight > 0) stand.decoder.answer(DECODED);
    await settled();
    for (const [images] of [stand.inference.pending].filter(({ length }) => length > 0)) {
      stand.inference.answer(...(images ?? []).map(() => EXECUTED));
    }
    await settled();
  }
}

for (const [stage, name] of [
  ['decoder', 'decode'],
  ['inference', 'batch'],
] as const) {
  describe(`an image that ends its ${stage} process`, () => {
    test('twice is rejected after the second, and from then on before it costs anything', async () => {
      const asked = await askAt(stage);
      await lose(stage, { selfInflicted: true });
      assert.equal(reasonOf(asked), 'open');
      await lose(stage, { selfInflicted: true });
      assert.equal(reasonOf(asked), 'IMAGE_QUARANTINED');
      assert.equal(stand[stage].sent.length, 2);
      assert.ok(stand.events.includes(`quarantined ${name} ${JPEG.length}`));

      const decodes = stand.decoder.sent.length;
      const again = stand.ask();
      await settled();
      assert.equal(reasonOf(again), 'IMAGE_QUARANTINED');
      assert.equal(stand.decoder.sent.length, decodes);
      assert.equal(stand.permits.inUse, 0);

      const other = stand.ask({ image: OTHER });
      await answerAll();
      assert.equal(reasonOf(other), 'resolved');
    });

    test('is taken again ten minutes later', async () => {
      await askAt(stage);
      await lose(stage, { selfInflicted: true });
      await lose(stage, { selfInflicted: true });
      stand.clock.advance(REMEMBERED_MS);
      const again = stand.ask();
      await answerAll();
      assert.equal(reasonOf(again), 'resolved');
    });

    test('by a kill from outside is not at fault, however often', async () => {
      const asked = await askAt(stage);
      for (let loss = 0; loss < 3; loss++) await lose(stage, { selfInflicted: false });
      assert.equal(reasonOf(asked), 'PROCESS_LOST');
      const again = stand.ask();
      await answerAll();
      assert.equal(reasonOf(again), 'resolved');
    });

    test('once, and then not again, is forgotten', async () => {
      for (let call = 0; call < 3; call++) {
        const asked = await askAt(stage);
        await lose(stage, { selfInflicted: true });
        await answerAll();
        assert.equal(reasonOf(asked), 'resolved');
      }
    });

    test('after it was cancelled is remembered too', async () => {
      for (let call = 0; call < 2; call++) {
        const leaving = new AbortController();
        const asked = await askAt(stage, { signal: leaving.signal });
        leaving.abort(new RequestError('DEADLINE_EXCEEDED', 'over'));
        await lose(stage, { selfInflicted: true });
        assert.equal(reasonOf(asked), 'DEADLINE_EXCEEDED');
      }
      const again = stand.ask();
      await settled();
      assert.equal(reasonOf(again), 'IMAGE_QUARANTINED');
    });

    test('where it ends with every image is not at fault: only the first is taken for quarantined', async () => {
      const reasons: string[] = [];
      for (let image = 0; image < 4; image++) {
        const asked = await askAt(stage, { image: Buffer.concat([JPEG, Buffer.of(image)]) });
        while (reasonOf(asked) === 'open') await lose(stage, { selfInflicted: true });
        reasons.push(reasonOf(asked));
      }
      // What was decoded says nothing of the inference processes, and the other way round.
      assert.deepEqual(reasons, [
        'IMAGE_QUARANTINED',
        'PROCESS_LOST',
        'PROCESS_LOST',
        'PROCESS_LOST',
      ]);
    });
  });
}

test('an image that uses up a decoder’s time costs one decoder, and is rejected from then on', async () => {
  for (let image = 0; image < 3; image++) {
    const bytes = Buffer.concat([JPEG, Buffer.of(image)]);
    const [asked, again] = [stand.ask({ image: bytes }), stand.ask({ image: OTHER })];
    await settled();
    await lose('decoder', { selfInflicted: true, usedUp: true });
    assert.equal(reasonOf(asked), 'IMAGE_QUARANTINED');
    assert.equal(
      stand.decoder.sent.length,
      2 * image + 2,
      'it is not tried again, and the next one is',
    );
    await answerAll();
    assert.equal(reasonOf(again), 'resolved');
    const later = stand.ask({ image: bytes });
    await settled();
    assert.equal(reasonOf(later), 'IMAGE_QUARANTINED');
  }
});

test('images that wait while another ends decoders are not lost with those, nor at fault', async () => {
  const first = stand.ask();
  const behind = stand.ask({ image: OTHER });
  await settled();
  assert.equal(stand.decoder.inFlight, 1, 'none in advance');
  await lose('decoder', { selfInflicted: true });
  await lose('decoder', { selfInflicted: true });
  assert.equal(reasonOf(first), 'IMAGE_QUARANTINED');
  await answerAll();
  assert.equal(reasonOf(behind), 'resolved');
});

test('a lost batch quarantines no image; alone, the faulty one is found and the others are answered', async () => {
  const images = Array.from({ length: 4 }, (_, index) => Buffer.concat([JPEG, Buffer.of(index)]));
  const fatal = 2;
  stand.inference.lose();
  const asked = images.map((image) => stand.ask({ image }));
  for (let turn = 0; turn < images.length; turn++) {
    await settled();
    stand.decoder.answer(DECODED);
  }
  await settled();
  stand.inference.recover();
  const slotOf = (index: number) => asked[index]?.permit.slot;
  for (let turn = 0; turn < 50 && stand.inference.inFlight > 0; turn++) {
    const [batch] = stand.inference.pending;
    if (batch?.some(({ slot }) => slot === slotOf(fatal)))
      await lose('inference', { selfInflicted: true });
    else stand.inference.answer(...(batch ?? []).map(() => EXECUTED));
    await settled();
  }
  assert.deepEqual(
    asked.map(reasonOf),
    images.map((_, index) => (index === fatal ? 'IMAGE_QUARANTINED' : 'resolved')),
  );
});
