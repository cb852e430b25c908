/** How many images a second the machine answers, measured under load. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { Throughput } from '#vitserve/server/admission/throughput.js';
import { FakeClock } from '../../../support/fake-clock.js';

const SATURATED_AT = 8;

let clock: FakeClock;
let throughput: Throughput;
let samples: number;
beforeEach(() => {
  clock = new FakeClock();
  samples = 0;
  throughput = new Throughput(
    clock,
    () => SATURATED_AT,
    () => samples++,
  );
  throughput.estimate(500);
});

/**
 * This many callers, each of which sends the next image after its answer; one is answered every
 * `everyMs`.
 */
function serve(
  callers: number,
  everyMs: number,
  forMs: number,
  answered: (image: number) => boolean = () => true,
): void {
  for (let caller = 0; caller < callers; caller++) throughput.began();
  const until = clock.now() + forMs;
  for (let image = 0; clock.now() < until; image++) {
    clock.advance(everyMs);
    throughput.ended(answered(image));
    throughput.began();
  }
  for (let caller = 0; caller < callers; caller++) throughput.ended(false);
}

describe('the figure', () => {
  test('is the estimate until three windows were measured', () => {
    serve(20, 10, 4_100);
    assert.equal(throughput.imagesPerSecond, 500);
    serve(20, 10, 2_000);
    assert.ok(Math.abs(throughput.imagesPerSecond - 100) < 1, `${throughput.imagesPerSecond}`);
  });

  test('is not changed by load below the capacity', () => {
    serve(SATURATED_AT - 1, 10, 60_000);
    assert.deepEqual([throughput.imagesPerSecond, samples], [500, 0]);
  });

  test('of a slow model takes as long as sixteen answers', () => {
    serve(64, 500, 3 * 16 * 500 - 1_000);
    assert.equal(throughput.imagesPerSecond, 500);
    serve(64, 500, 3 * 16 * 500);
    assert.ok(Math.abs(throughput.imagesPerSecond - 2) < 0.1, `${throughput.imagesPerSecond}`);
  });

  test('is not changed by one bad window, but by two', () => {
    serve(20, 10, 6_100);
    serve(20, 100, 2_000);
    assert.ok(Math.abs(throughput.imagesPerSecond - 100) < 1, `${throughput.imagesPerSecond}`);
    serve(20, 100, 4_100);
    assert.ok(Math.abs(throughput.imagesPerSecond - 10) < 1, `${throughput.imagesPerSecond}`);
  });

  test('counts answered images and not failed ones', () => {
    serve(20, 10, 12_100, (image) => image % 4 === 0);
    assert.ok(Math.abs(throughput.imagesPerSecond - 25) < 1, `${throughput.imagesPerSecond}`);
  });

  test('excludes the time with too little to do', () => {
    for (let burst = 0; burst < 20; burst++) {
      serve(20, 10, 1_900);
      clock.advance(60_000);
    }
    assert.equal(throughput.imagesPerSecond, 500);
  });
});
