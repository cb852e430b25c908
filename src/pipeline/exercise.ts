/**
 * Before the server says ready, the line is exercised from end to end with drawn pictures: it proves that every stage
 * works, wakes the JIT compilers and the allocators, and tells how many images a second this machine finishes.
 */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../clock.js';
import type { Permits } from './permits.js';
import type { Pipeline } from './pipeline.js';

/** Images a second that the line finished, of drawn pictures about as hard as a photo. */
export interface Capacity {
  readonly imagesPerSecond: number;
}

/** Long enough for the figure to settle, short enough to start within a moment. */
const WARM_UP_MS = 150;
const MEASURE_MS = 250;
/** Slow models get as long as a few images take, but not longer than this. */
const LONGEST_MS = 30_000;

/**
 * @param concurrency images in the line at a time: enough to keep every process busy; at most the number of permits
 * @throws whatever the line throws: a line that can't answer a drawn picture can't serve
 */
export async function exercise(
  pipeline: Pipeline,
  permits: Permits,
  picture: Uint8Array,
  concurrency: number,
  clock: Clock,
): Promise<Capacity> {
  const { signal } = new AbortController();
  // Every image in the line listens to it.
  setMaxListeners(0, signal);
  const answerOne = async () => {
    const permit = permits.tryTake();
    if (permit === null) throw new Error('the exercise has fewer permits than images');
    const arrivedAt = clock.now();
    const asked = { image: picture, topK: 5, wantsEmbedding: false };
    await pipeline.answer({ ...asked, arrivedAt, expiresAt: Number.POSITIVE_INFINITY, signal }, permit);
  };
  const answerFor = async (milliseconds: number, images: number): Promise<number> => {
    const startedAt = clock.now();
    let finished = 0;
    const wantsMore = () => {
      const spent = clock.now() - startedAt;
      return spent < LONGEST_MS && (spent < milliseconds || finished < images);
    };
    const caller = async () => {
      while (wantsMore()) {
        await answerOne();
        finished++;
      }
    };
    await Promise.all(Array.from({ length: concurrency }, caller));
    return (finished / (clock.now() - startedAt)) * 1000;
  };

  await answerOne();
  await answerFor(WARM_UP_MS, concurrency);
  return { imagesPerSecond: await answerFor(MEASURE_MS, 2 * concurrency) };
}
