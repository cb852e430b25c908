/** How the server chooses the number of permits, and corrects it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { choosePermits, PermitLimit, type Room } from '#vitserve/server/admission/permit-limit.js';
import { type Permit, Permits } from '#vitserve/server/admission/permits.js';
import { FakeClock } from '../../../support/fake-clock.js';

const SLOT_BYTES = 3_136;
const PHOTO_BYTES = 128 * 1024;
const ample: Room = {
  slotBytes: SLOT_BYTES,
  slots: 64,
  freeSharedBytes: 2 ** 40,
  memoryBytes: 2 ** 50,
};
const permitsOf = (imagesPerSecond: number, fewest = 20, room = ample) =>
  choosePermits({ imagesPerSecond, fewest }, room).permits;

describe('permits', () => {
  test('are as many as the images that the machine answers in four seconds', () => {
    assert.equal(permitsOf(300), 1_200);
    assert.equal(permitsOf(299.9), 1_200);
  });

  test('are never fewer than 64, nor than keep every process busy', () => {
    assert.equal(permitsOf(8), 64);
    assert.equal(permitsOf(0), 64);
    assert.equal(permitsOf(20, 320), 320);
  });

  test('are no more than 65,536', () => {
    assert.equal(permitsOf(1e9), 65_536);
  });

  test('fit half of the free shared memory, beside the slots that there are, and say what was short', () => {
    const room = { ...ample, freeSharedBytes: 2 * 100 * SLOT_BYTES };
    assert.deepEqual(choosePermits({ imagesPerSecond: 300, fewest: 20 }, room), {
      permits: 164,
      short: 'shared memory',
    });
    assert.equal(permitsOf(300, 20, { ...room, freeSharedBytes: room.freeSharedBytes - 1 }), 163);
    assert.equal(permitsOf(300, 20, { ...room, freeSharedBytes: 0 }), 64);
    assert.equal(choosePermits({ imagesPerSecond: 41, fewest: 20 }, room).short, null);
  });

  test('leave three quarters of the memory to others, a waiting photo counted with each slot', () => {
    const room = { ...ample, memoryBytes: 4 * 100 * (SLOT_BYTES + PHOTO_BYTES) };
    assert.deepEqual(choosePermits({ imagesPerSecond: 300, fewest: 20 }, room), {
      permits: 100,
      short: 'memory',
    });
  });

  test('never want more than there is room for, and are never none', () => {
    const shape = fc.record({
      imagesPerSecond: fc.double({ min: 0, max: 1e6, noNaN: true }),
      fewest: fc.integer({ min: 4, max: 10_000 }),
      slots: fc.integer({ min: 1, max: 1_000 }),
      freeSharedBytes: fc.integer({ min: 0, max: 2 ** 40 }),
      memoryBytes: fc.integer({ min: 2 ** 20, max: 2 ** 40 }),
      slotBytes: fc.integer({ min: 67, max: 2 ** 26 }),
    });
    fc.assert(
      fc.property(shape, (machine) => {
        const { permits } = choosePermits(machine, machine);
        assert.ok(Number.isInteger(permits) && permits > 0);
        assert.ok(
          Math.max(0, permits - machine.slots) * machine.slotBytes <= machine.freeSharedBytes / 2,
        );
      }),
    );
  });
});

describe('the limit', () => {
  const begin = (
    imagesPerSecond: number,
    given: Partial<Room> = {},
    more: { readonly slots?: number; readonly fixed?: number } = {},
  ) => {
    const { slots = Number.POSITIVE_INFINITY, fixed = null } = more;
    const makeSlot = (slot: number) => {
      if (slot < slots) return true;
      limit.ranShort(slots);
      return false;
    };
    const permits = new Permits(0, new FakeClock(), { makeSlot });
    const wanted = { imagesPerSecond, fewest: 20 };
    const room = { ...ample, ...given };
    const told: string[] = [];
    const limit: PermitLimit = new PermitLimit({
      permits,
      wanted: () => wanted,
      room: () => room,
      fixed,
      report: (event) => {
        if (event.kind === 'permits-corrected')
          told.push(`${event.permits} at ${event.imagesPerSecond}`);
        if (event.kind === 'permits-short')
          told.push(`${event.permits} for want of ${event.short}`);
      },
    });
    limit.begin();
    const correct = (found: number) => {
      wanted.imagesPerSecond = found;
      limit.correct();
      return permits.limit;
    };
    return { permits, room, told, correct };
  };

  test('follows what is answered, up and down, but not for a quarter', () => {
    const { permits, correct, told } = begin(100);
    assert.equal(permits.limit, 400);
    assert.equal(correct(125), 400);
    assert.equal(correct(75), 400);
    assert.equal(correct(126), 504);
    assert.equal(correct(100), 504);
    assert.equal(correct(94), 376);
    assert.equal(correct(3), 64);
    assert.deepEqual(told, ['504 at 126', '376 at 94', '64 at 3']);
  });

  test('that two figures in turn are near does not go to and fro', () => {
    const { correct, told } = begin(100);
    for (let sample = 0; sample < 50; sample++) correct(sample % 2 === 0 ? 90 : 112);
    assert.deepEqual(told, []);
  });

  test('goes as far as there is memory, and says that once', () => {
    const { correct, told, room } = begin(1_000, { freeSharedBytes: 2 * 936 * SLOT_BYTES });
    assert.equal(correct(2_000), 1_000);
    assert.deepEqual(told, ['1000 for want of shared memory']);
    Object.assign(room, { freeSharedBytes: 2 ** 40 });
    assert.equal(correct(2_000), 8_000);
    assert.deepEqual(told.slice(1), ['8000 at 2000']);
  });

  test('is what there are slots for once one could not be made', () => {
    const { permits, told } = begin(1_000, {}, { slots: 3 });
    const held = Array.from({ length: 5 }, () => permits.tryTake());
    assert.deepEqual(
      held.map((permit) => permit?.slot ?? null),
      [0, 1, 2, null, null],
    );
    assert.equal(permits.limit, 3);
    assert.deepEqual(told, ['3 for want of shared memory']);
  });

  test('that an operator has set is never corrected', () => {
    const { permits, correct } = begin(100, {}, { fixed: 7 });
    assert.equal(permits.limit, 7);
    assert.equal(correct(1_000), 7);
  });

  test('that was lowered leaves held permits alone', () => {
    const { permits, correct } = begin(100);
    const held = Array.from({ length: 400 }, () => permits.tryTake() as Permit);
    assert.equal(correct(20), 80);
    assert.equal(permits.inUse, 400);
    for (const permit of held.slice(0, 320)) permit.release();
    assert.equal(permits.tryTake(), null);
    held[320]?.release();
    assert.ok(permits.tryTake());
    assert.equal(permits.inUse, 80);
  });
});
