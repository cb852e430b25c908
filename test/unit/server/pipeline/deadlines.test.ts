/** Images whose deadline cannot be met: rejected before any work. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { settled } from '../../../support/fake-worker.js';
import { createStand, DECODED, EXECUTED, type Stand } from './stand.js';

const START = 1_000;
const DECODE_MS = 10;
const EXECUTE_MS = 40;

let stand: Stand;
beforeEach(async () => {
  stand = createStand({
    permits: 20,
    maxBatchSize: 1,
    warmUpCosts: [{ batchSize: 1, milliseconds: EXECUTE_MS }],
  });
  await answerOne();
});
afterEach(() => stand.close());

/** One image through the whole stand, which teaches the decoding dispatcher what a decode costs. */
async function answerOne(): Promise<void> {
  stand.ask();
  stand.clock.advance(DECODE_MS);
  stand.decoder.answer(DECODED);
  await settled();
  stand.clock.advance(EXECUTE_MS);
  stand.inference.answer(EXECUTED);
  await settled();
}

/** A deadline so many milliseconds from now. */
const within = (ms: number) => ({
  expiresAt: stand.clock.now() + ms,
  arrivedAt: stand.clock.now(),
});

type Asked = ReturnType<Stand['ask']>;

function rejectionOf({ outcome, releases }: Asked): RequestError {
  assert.ok(outcome.state.kind === 'rejected', `the image is ${outcome.state.kind}`);
  const { error } = outcome.state;
  assert.ok(error instanceof RequestError);
  assert.equal(error.reason, 'DEADLINE_UNREACHABLE');
  assert.equal(releases.count, 1);
  return error;
}

describe('an image that has not arrived', () => {
  const other = () =>
    createStand({ permits: 1, maxBatchSize: 1, warmUpCosts: [{ batchSize: 1, milliseconds: 10 }] });

  test('is rejected where no model could answer it in time', () => {
    const { expiresAt } = within(50);
    assert.throws(
      () => stand.pipeline.checkDeadline([stand.model], expiresAt),
      (error) => error instanceof RequestError && error.reason === 'DEADLINE_UNREACHABLE',
    );
    assert.equal(stand.events.at(-1), 'dropped decode unreachable');
    assert.equal(stand.decoder.sent.length, 1);
  });

  test('may arrive where one could, where it has no deadline, and where there is no model yet', () => {
    stand.pipeline.checkDeadline([stand.model], within(64).expiresAt);
    stand.pipeline.checkDeadline([stand.model], Number.POSITIVE_INFINITY);
    stand.pipeline.checkDeadline([], within(50).expiresAt);
    const faster = other();
    stand.pipeline.checkDeadline([stand.model, faster.model], within(50).expiresAt);
    faster.close();
    assert.equal(stand.events.includes('dropped decode unreachable'), false);
  });
});

describe('an image', () => {
  test('that cannot be answered in time is rejected before it is decoded, with the time that would be enough', async () => {
    const asked = stand.ask(within(50));
    await settled();
    // 10 ms and 40, and a quarter more.
    assert.match(rejectionOf(asked).message, /in 50 ms and can't be met: the call needs 6[23] ms/);
    assert.equal(stand.decoder.sent.length, 1);
    assert.equal(stand.events.at(-1), 'dropped decode unreachable');
    assert.equal(stand.permits.inUse, 0);
  });

  test('that just can is admitted, and so is one without a deadline', async () => {
    const asked = [stand.ask(within(64)), stand.ask()];
    await settled();
    for (const { outcome } of asked) assert.equal(outcome.state.kind, 'open');
  });

  test('waits for images that are decoded or executed before it', async () => {
    for (let image = 0; image < 4; image++) stand.ask(within(210));
    // Those are executed in 160 ms, then it comes.
    const needed = 1.25 * (5 * EXECUTE_MS);
    const [late, inTime] = [stand.ask(within(needed - 1)), stand.ask(within(needed + 1))];
    await settled();
    rejectionOf(late);
    assert.equal(inTime.outcome.state.kind, 'open');
  });

  test('goes before images with more time, and those do not count', async () => {
    for (let image = 0; image < 10; image++) stand.ask();
    const asked = stand.ask(within(300));
    await settled();
    assert.equal(asked.outcome.state.kind, 'open');
    stand.decoder.answer(DECODED);
    await settled();
    const [first] = stand.decoder.pending;
    assert.equal(first?.[0]?.slot, asked.permit.slot);
  });

  test('of a stream gives way to unary calls that come after it', async () => {
    stand.ask();
    const ofStream = stand.ask({ ...within(200), ofStream: true });
    const unary = stand.ask({ ...within(60_000) });
    const slots: unknown[] = [];
    for (let image = 0; image < 2; image++) {
      stand.decoder.answer(DECODED);
      await settled();
      slots.push(...stand.decoder.pending.map(([image]) => image?.slot));
    }
    assert.deepEqual(slots, [unary.permit.slot, ofStream.permit.slot]);
  });

  test('that becomes late after all is rejected before its execution, and counted', async () => {
    const decodeOne = async (terms: Partial<ReturnType<typeof within>> = {}) => {
      const asked = stand.ask(terms);
      stand.clock.advance(DECODE_MS);
      stand.decoder.answer(DECODED);
      await settled();
      return asked;
    };
    // One that is executed and one in advance.
    for (let image = 0; image < 2; image++) await decodeOne();
    const asked = await decodeOne(within(300));
    stand.clock.advance(270);
    stand.inference.answer(EXECUTED);
    await settled();
    rejectionOf(asked);
    assert.deepEqual(
      stand.events.filter((event) => event.startsWith('dropped')),
      ['dropped batch unreachable'],
    );
    assert.equal(stand.inference.sent.length, 1 + 2);
  });

  test('is never rejected where no cost is known', async () => {
    const cold = createStand({ maxBatchSize: 1 });
    cold.ask();
    const asked = cold.ask({ arrivedAt: START, expiresAt: START + 1 });
    await settled();
    assert.equal(asked.outcome.state.kind, 'open');
    cold.close();
  });

  test('is not rejected where no process runs: one may be back in time', async () => {
    stand.inference.lose();
    const asked = stand.ask(within(DECODE_MS + 1));
    await settled();
    assert.equal(asked.outcome.state.kind, 'open');
  });
});
