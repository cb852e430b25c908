/** Images whose deadline can't be met: told so before anything is done for them. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { settled } from '../../../support/fake-lane.js';
import { createLine, DECODED, EXECUTED, type Line } from './line.js';

const START = 1_000;
const DECODE_MS = 10;
const EXECUTE_MS = 40;

let line: Line;
beforeEach(async () => {
  line = createLine({
    permits: 20,
    maxBatchSize: 1,
    warmUpCosts: [{ batchSize: 1, milliseconds: EXECUTE_MS }],
  });
  await answerOne();
});
afterEach(() => line.close());

/** One image through the whole line, which teaches the decoding dispatcher what a decode costs. */
async function answerOne(): Promise<void> {
  line.ask();
  line.clock.advance(DECODE_MS);
  line.decoder.answer(DECODED);
  await settled();
  line.clock.advance(EXECUTE_MS);
  line.inference.answer([EXECUTED]);
  await settled();
}

/** A deadline so many milliseconds from now. */
const within = (ms: number) => ({ expiresAt: line.clock.now() + ms, arrivedAt: line.clock.now() });

type Asked = ReturnType<Line['ask']>;

function refusalOf({ outcome, releases }: Asked): RequestError {
  assert.ok(outcome.state.kind === 'rejected', `the image is ${outcome.state.kind}`);
  const { error } = outcome.state;
  assert.ok(error instanceof RequestError);
  assert.equal(error.reason, 'DEADLINE_UNREACHABLE');
  assert.equal(releases.count, 1);
  return error;
}

describe('an image that has not come yet', () => {
  const other = () =>
    createLine({ permits: 1, maxBatchSize: 1, warmUpCosts: [{ batchSize: 1, milliseconds: 10 }] });

  test('is refused where no model could answer it in time', () => {
    const { expiresAt } = within(50);
    assert.throws(
      () => line.pipeline.checkDeadline([line.model], expiresAt),
      (error) => error instanceof RequestError && error.reason === 'DEADLINE_UNREACHABLE',
    );
    assert.equal(line.events.at(-1), 'dropped decode unreachable');
    assert.equal(line.decoder.sent.length, 1);
  });

  test('may come where one could, where it has no deadline, and where there is no model yet', () => {
    line.pipeline.checkDeadline([line.model], within(64).expiresAt);
    line.pipeline.checkDeadline([line.model], Number.POSITIVE_INFINITY);
    line.pipeline.checkDeadline([], within(50).expiresAt);
    const faster = other();
    line.pipeline.checkDeadline([line.model, faster.model], within(50).expiresAt);
    faster.close();
    assert.equal(line.events.includes('dropped decode unreachable'), false);
  });
});

describe('an image', () => {
  test('that can not be answered in time is refused before it costs a decode, with the time that would have done', async () => {
    const asked = line.ask(within(50));
    await settled();
    // 10 ms and 40, and a quarter more.
    assert.match(refusalOf(asked).message, /in 50 ms and can't be met: with 6[23] ms it could/);
    assert.equal(line.decoder.sent.length, 1);
    assert.equal(line.events.at(-1), 'dropped decode unreachable');
    assert.equal(line.permits.inUse, 0);
  });

  test('that just can is let in, and so is one without a deadline', async () => {
    const asked = [line.ask(within(64)), line.ask()];
    await settled();
    for (const { outcome } of asked) assert.equal(outcome.state.kind, 'open');
  });

  test('is told of those who are decoded before it, and of those who are executed', async () => {
    for (let image = 0; image < 4; image++) line.ask(within(210));
    // Those are executed in 160 ms, then it comes.
    const needed = 1.25 * (5 * EXECUTE_MS);
    const [late, inTime] = [line.ask(within(needed - 1)), line.ask(within(needed + 1))];
    await settled();
    refusalOf(late);
    assert.equal(inTime.outcome.state.kind, 'open');
  });

  test('goes before those who have more time, and they do not count', async () => {
    for (let image = 0; image < 10; image++) line.ask();
    const asked = line.ask(within(300));
    await settled();
    assert.equal(asked.outcome.state.kind, 'open');
    line.decoder.answer(DECODED);
    await settled();
    const [first] = line.decoder.pending;
    assert.ok(first?.kind === 'decode' && first.slot === asked.permit.slot);
  });

  test('of a stream gives way to unary calls that come after it', async () => {
    line.ask();
    const ofStream = line.ask({ ...within(200), ofStream: true });
    const unary = line.ask({ ...within(60_000) });
    const slots: unknown[] = [];
    for (let image = 0; image < 2; image++) {
      line.decoder.answer(DECODED);
      await settled();
      slots.push(...line.decoder.pending.map((call) => call.kind === 'decode' && call.slot));
    }
    assert.deepEqual(slots, [unary.permit.slot, ofStream.permit.slot]);
  });

  test('that becomes late after all is refused before its execution, and counted', async () => {
    const decodeOne = async (terms: Partial<ReturnType<typeof within>> = {}) => {
      const asked = line.ask(terms);
      line.clock.advance(DECODE_MS);
      line.decoder.answer(DECODED);
      await settled();
      return asked;
    };
    // One that is executed and one in advance.
    for (let image = 0; image < 2; image++) await decodeOne();
    const asked = await decodeOne(within(300));
    line.clock.advance(270);
    line.inference.answer([EXECUTED]);
    await settled();
    refusalOf(asked);
    assert.deepEqual(
      line.events.filter((event) => event.startsWith('dropped')),
      ['dropped batch unreachable'],
    );
    assert.equal(line.inference.sent.length, 1 + 2);
  });

  test('is never refused where nothing is known', async () => {
    const cold = createLine({ maxBatchSize: 1 });
    cold.ask();
    const asked = cold.ask({ arrivedAt: START, expiresAt: START + 1 });
    await settled();
    assert.equal(asked.outcome.state.kind, 'open');
    cold.close();
  });

  test('is not refused because there is no process: it may be back in time', async () => {
    line.inference.lose();
    const asked = line.ask(within(DECODE_MS + 1));
    await settled();
    assert.equal(asked.outcome.state.kind, 'open');
  });
});
