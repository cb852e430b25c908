/**
 * Compares two sessions of one model: how much faster is the second, and does it answer the same?
 *
 * Both run in the calling process, one image at a time, in turns, so that anything that slows the
 * machine slows both. Medians, because a turn that another process interrupts says nothing about
 * either.
 */
import type { Clock } from '../../clock.js';
import type { Session } from './session.js';

export interface SpeedComparison {
  /** Median milliseconds an image. */
  readonly beforeMs: number;
  readonly afterMs: number;
  /** How many times as fast the second is. */
  readonly ratio: number;
  readonly turns: number;
}

export interface AnswerComparison {
  readonly images: number;
  /** Images for which both rank the same class first. */
  readonly sameTop1: number;
  /** The largest difference of any score of any image. */
  readonly maxDifference: number;
}

/** Turns of each before the timed ones: by then memory is laid out and caches are filled. */
const WARM_UP_TURNS = 3;
const FEWEST_TURNS = 7;

/** @param budgetMs how long to measure, within a turn; at least seven turns are made */
export async function compareSpeed(
  before: Session,
  after: Session,
  pixels: Uint8Array,
  { budgetMs, clock }: { readonly budgetMs: number; readonly clock: Clock },
): Promise<SpeedComparison> {
  const time = async (session: Session): Promise<number> => {
    const startedAt = clock.now();
    await session.run(pixels, 1);
    return clock.now() - startedAt;
  };
  for (let turn = 0; turn < WARM_UP_TURNS; turn++) {
    await time(before);
    await time(after);
  }
  const [beforeTimes, afterTimes]: [number[], number[]] = [[], []];
  const until = clock.now() + budgetMs;
  while (beforeTimes.length < FEWEST_TURNS || clock.now() < until) {
    beforeTimes.push(await time(before));
    afterTimes.push(await time(after));
  }
  const [beforeMs, afterMs] = [median(beforeTimes), median(afterTimes)];
  return { beforeMs, afterMs, ratio: beforeMs / afterMs, turns: beforeTimes.length };
}

/** @param images pixels of one image each, as `Session.run` takes them */
export async function compareAnswers(
  before: Session,
  after: Session,
  images: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<AnswerComparison> {
  let [count, sameTop1, maxDifference] = [0, 0, 0];
  for await (const pixels of images) {
    const expected = (await before.run(pixels, 1)).scores;
    const found = (await after.run(pixels, 1)).scores;
    count++;
    if (largestAt(expected) === largestAt(found)) sameTop1++;
    for (const [at, score] of expected.entries()) {
      maxDifference = Math.max(maxDifference, Math.abs(score - (found[at] as number)));
    }
  }
  return { images: count, sameTop1, maxDifference };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

function largestAt(scores: Float32Array): number {
  let best = 0;
  for (let at = 1; at < scores.length; at++)
    if ((scores[at] as number) > (scores[best] as number)) best = at;
  return best;
}
