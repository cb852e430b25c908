/**
 * Ten thousand days of arrivals, deadlines, cancellations, streams and losses, in simulated time:
 * what has to hold in each.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  type Arrival,
  chance,
  type Loss,
  type SimulatedImage,
  type SimulationOptions,
  simulate,
} from './simulation.js';

const SCHEDULES = 10_000;

const arrival: fc.Arbitrary<Arrival & { readonly gapMs: number }> = fc.record({
  atMs: fc.constant(0),
  gapMs: fc.nat({ max: 15 }),
  deadlineMs: fc.option(fc.integer({ min: 1, max: 200 }), { nil: null, freq: 3 }),
  ofStream: fc.nat({ max: 4 }).map((dice) => dice === 0),
  leavesMs: fc
    .option(fc.nat({ max: 60 }), { nil: null, freq: 8 })
    .map((ms) => (ms === null || ms % 3 > 0 ? null : ms)),
});
const loss: fc.Arbitrary<Loss> = fc.record({
  atMs: fc.nat({ max: 200 }),
  worker: fc.nat({ max: 2 }).map((dice) => Math.max(0, dice - 1)),
  downMs: fc.integer({ min: 1, max: 40 }),
});
const schedule = fc.record({
  arrivals: fc.array(arrival, { minLength: 1, maxLength: 40 }),
  losses: fc.array(loss, { maxLength: 8 }),
  workers: fc.integer({ min: 1, max: 3 }),
  maxBatchSize: fc.integer({ min: 1, max: 6 }),
  overtakingLimitMs: fc.integer({ min: 5, max: 100 }),
  baseMs: fc.integer({ min: 0, max: 20 }),
  eachMs: fc.integer({ min: 1, max: 10 }),
  noise: fc.constantFrom(0, 0.3, 3),
  warm: fc.boolean(),
  seed: fc.nat(),
});

/**
 * That an image of the batch goes before one that waits is against the rules. Images that are
 * executed again go first anyway.
 */
function isOvertaking(
  image: SimulatedImage,
  waiting: SimulatedImage,
  limitMs: number,
  now: number,
): boolean {
  if (image.givenAt !== null) return false;
  const lead = image.atMs - waiting.atMs;
  if (waiting.ofStream) return lead > (image.ofStream ? 0 : 2 * limitMs);
  return lead > limitMs || (lead > 0 && now > waiting.atMs + limitMs);
}

describe('in any schedule', () => {
  test('every image settles once, with its own result, and no work is wasted or out of order', async () => {
    const seen = { answered: 0, rejected: 0, left: 0, expired: 0, lost: 0, batches: 0 };
    await fc.assert(
      fc.asyncProperty(schedule, async ({ baseMs, eachMs, noise, warm, seed, ...given }) => {
        const random = chance(seed);
        const costMs = (size: number) => baseMs + eachMs * size;
        let atMs = 0;
        const arrivals = given.arrivals.map((each) => {
          atMs += each.gapMs;
          return { ...each, atMs };
        });
        const { maxBatchSize, overtakingLimitMs } = given;
        const waiting = new Set<SimulatedImage>();
        const passed: [by: number, image: SimulatedImage][] = [];
        const options: SimulationOptions = {
          ...given,
          arrivals,
          serviceMs: (size) => costMs(size) * (1 + noise * random()),
          warmUpCosts: warm
            ? [1, 6].map((batchSize) => ({ batchSize, milliseconds: costMs(batchSize) }))
            : [],
          onArrival: (image) => waiting.add(image),
          onEnd: (image) => waiting.delete(image),
          onBatch: (batch, now) => {
            seen.batches++;
            assert.ok(
              batch.length > 0 && batch.length <= maxBatchSize,
              `a batch of ${batch.length}`,
            );
            for (const image of batch) {
              assert.equal(
                image.gone,
                null,
                'an image that had left or expired was given to a process',
              );
              assert.ok(image.expiresAt >= now);
              assert.ok(
                image.givenAt === null || batch.length === 1,
                'an image is executed again alone',
              );
              waiting.delete(image);
            }
            for (const image of batch) {
              for (const other of waiting) {
                if (isOvertaking(image, other, overtakingLimitMs, now))
                  passed.push([image.index, other]);
              }
            }
          },
          onSettled: ({ workers, queueLength }) => {
            // An image rejected when the batch was formed settles a moment later.
            for (const [by, { index, outcome }] of passed.splice(0)) {
              assert.ok(
                outcome === 'rejected' || outcome === 'expired',
                `image ${by} goes before ${index}`,
              );
            }
            const idle = workers.some(({ ready, inFlight }) => ready && inFlight === 0);
            assert.ok(!idle || queueLength === 0, 'a process is idle while images wait');
          },
        };
        for (const image of await simulate(options)) {
          const { index, outcome, settlements, result, endedAt, rejection } = image;
          assert.equal(settlements, 1, `image ${index} was settled ${settlements} times`);
          assert.ok(outcome !== null);
          seen[outcome]++;
          if (outcome === 'answered') assert.equal(result, `${index}!`);
          if (outcome === 'expired') assert.ok(endedAt >= image.expiresAt);
          if (outcome === 'rejected') {
            const [, left, expected] =
              /in (\d+) ms .* needs (\d+) ms/.exec(rejection?.message ?? '') ?? [];
            assert.ok(Number(expected) >= Number(left), rejection?.message);
            assert.ok(endedAt <= image.expiresAt, 'a rejection comes before the deadline');
          }
        }
      }),
      { numRuns: SCHEDULES, seed: 1 },
    );
    for (const [what, count] of Object.entries(seen))
      assert.ok(count > SCHEDULES / 200, `${what}: only ${count}`);
  });

  test('no image is rejected before costs are known', async () => {
    await simulate({
      ...{ workers: 1, maxBatchSize: 4, overtakingLimitMs: 100, serviceMs: () => 50 },
      arrivals: Array.from({ length: 20 }, (_, at) => ({ atMs: at, deadlineMs: 40 - at })),
    }).then((images) => assert.ok(images.every(({ outcome }) => outcome !== 'rejected')));
  });
});
