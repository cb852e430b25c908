/** How many permits there are, and which image gets the next. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Permit, Permits } from '#vitserve/server/admission/permits.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { settled, watch } from '../../../support/fake-worker.js';

const NEVER = new AbortController().signal;

function take(permits: Permits): Permit {
  const permit = permits.tryTake();
  assert.ok(permit, 'there is no permit');
  return permit;
}

describe('permits of unary calls', () => {
  test('there are exactly as many as the limit says, each with a slot of its own', () => {
    const permits = new Permits(3, new FakeClock());
    const slots = [take(permits), take(permits), take(permits)].map(({ slot }) => slot);
    assert.deepEqual(
      slots.sort((a, b) => a - b),
      [0, 1, 2],
    );
    assert.equal(permits.tryTake(), null);
    assert.equal(permits.inUse, 3);
  });

  test('a permit that is given back can be taken again, with the same slot', () => {
    const permits = new Permits(2, new FakeClock());
    const [first] = [take(permits), take(permits)];
    first.release();
    assert.equal(permits.inUse, 1);
    assert.equal(take(permits).slot, first.slot);
  });

  test('giving back twice gives back once', () => {
    const permits = new Permits(2, new FakeClock());
    const [first, second] = [take(permits), take(permits)];
    first.release();
    first.release();
    assert.equal(permits.inUse, 1);
    assert.notEqual(take(permits).slot, second.slot);
    assert.equal(permits.tryTake(), null);
  });

  test('the limit can be raised, and lowered while permits are held', () => {
    const permits = new Permits(0, new FakeClock());
    assert.equal(permits.tryTake(), null);
    permits.setLimit(3);
    const held = [take(permits), take(permits), take(permits)];
    permits.setLimit(1);
    assert.deepEqual([permits.limit, permits.inUse], [1, 3]);
    held[0]?.release();
    held[1]?.release();
    assert.equal(permits.tryTake(), null);
    held[2]?.release();
    take(permits);
    assert.equal(permits.tryTake(), null);
  });

  test('there are no more slots than images at a time, and each is made before its first use', () => {
    const made: number[] = [];
    const makeSlot = (slot: number) => made.push(slot) > 0;
    const permits = new Permits(1_000, new FakeClock(), { firstSlot: 8, makeSlot });
    for (let round = 0; round < 10; round++) {
      const held = [take(permits), take(permits), take(permits)];
      for (const permit of held) permit.release();
    }
    assert.deepEqual(made, [8, 9, 10]);
  });

  test('without room for its slot there is no permit, and later there may be', () => {
    let hasRoom = false;
    const permits = new Permits(2, new FakeClock(), { makeSlot: () => hasRoom });
    assert.equal(permits.tryTake(), null);
    assert.equal(permits.inUse, 0);
    hasRoom = true;
    assert.equal(take(permits).slot, 0);
  });

  test('the mean holding time starts with the first one and follows the later ones slowly', () => {
    const clock = new FakeClock();
    const permits = new Permits(1, clock);
    const hold = (milliseconds: number) => {
      const permit = take(permits);
      clock.advance(milliseconds);
      permit.release();
    };
    assert.equal(permits.meanHeldMs, 0);
    hold(100);
    assert.equal(permits.meanHeldMs, 100);
    hold(200);
    assert.equal(permits.meanHeldMs, 105);
    for (let image = 0; image < 200; image++) hold(200);
    assert.ok(Math.abs(permits.meanHeldMs - 200) < 0.1);
  });
});

describe('permits of streams', () => {
  test('streams hold at most half of the permits, rounded up; the rest is for unary calls', async () => {
    const permits = new Permits(5, new FakeClock());
    const waiting = Array.from({ length: 4 }, () => watch(permits.takeForStream(NEVER)));
    await settled();
    assert.deepEqual(
      waiting.map(({ state }) => state.kind),
      ['resolved', 'resolved', 'resolved', 'open'],
    );
    assert.equal(permits.inUse, 3);
    assert.ok(permits.tryTake() && permits.tryTake());
    assert.equal(permits.tryTake(), null);
  });

  test('a unary call may take what streams leave, all of it', async () => {
    const permits = new Permits(2, new FakeClock());
    const [first] = [take(permits), take(permits)];
    const given: number[] = [];
    const stream = permits.takeForStream(NEVER).then(({ slot }) => given.push(slot));
    await settled();
    assert.deepEqual(given, []);
    first.release();
    await stream;
    assert.deepEqual(given, [first.slot]);
  });

  test('images of streams get permits in the order in which they asked', async () => {
    const permits = new Permits(2, new FakeClock());
    const order: string[] = [];
    const ask = (name: string) =>
      permits.takeForStream(NEVER).then((permit) => {
        order.push(name);
        return permit;
      });
    const held = [ask('a'), ask('b'), ask('c'), ask('d')];
    for (const permit of held) {
      (await permit).release();
      await settled();
    }
    assert.deepEqual(order, ['a', 'b', 'c', 'd']);
    assert.equal(permits.inUse, 0);
  });

  test('an image that arrives while others wait does not overtake them', async () => {
    const permits = new Permits(1, new FakeClock());
    const unary = take(permits);
    const first = watch(permits.takeForStream(NEVER));
    unary.release();
    const second = watch(permits.takeForStream(NEVER));
    await settled();
    assert.deepEqual([first.state.kind, second.state.kind], ['resolved', 'open']);
  });

  test('a raised limit serves waiting images', async () => {
    const permits = new Permits(0, new FakeClock());
    const waiting = [watch(permits.takeForStream(NEVER)), watch(permits.takeForStream(NEVER))];
    permits.setLimit(2);
    await settled();
    assert.deepEqual(
      waiting.map(({ state }) => state.kind),
      ['resolved', 'open'],
    );
  });

  test('an image cancelled while it waits is rejected with the reason of the signal and delays no other', async () => {
    const permits = new Permits(1, new FakeClock());
    const unary = take(permits);
    const leaving = new AbortController();
    const reason = new Error('gone');
    const [first, second] = [
      watch(permits.takeForStream(leaving.signal)),
      watch(permits.takeForStream(NEVER)),
    ];
    leaving.abort(reason);
    unary.release();
    await settled();
    assert.deepEqual(first.state, { kind: 'rejected', error: reason });
    assert.equal(second.state.kind, 'resolved');
    assert.equal(permits.inUse, 1);
  });

  test('a cancellation after the permit was given changes nothing', async () => {
    const permits = new Permits(1, new FakeClock());
    const unary = take(permits);
    const leaving = new AbortController();
    const first = watch(permits.takeForStream(leaving.signal));
    const second = watch(permits.takeForStream(NEVER));
    unary.release();
    await settled();
    leaving.abort(new Error('gone'));
    assert.ok(first.state.kind === 'resolved');
    first.state.value.release();
    await settled();
    assert.equal(second.state.kind, 'resolved');
  });

  test('an image cancelled before is rejected and takes none', async () => {
    const permits = new Permits(1, new FakeClock());
    const reason = new Error('gone');
    const asked = watch(permits.takeForStream(AbortSignal.abort(reason)));
    await settled();
    assert.deepEqual(asked.state, { kind: 'rejected', error: reason });
    assert.equal(permits.inUse, 0);
  });
});
