/**
 * What a model has to pass before callers get it: it answers drawn pictures from end to end. That
 * shows that every stage works, warms up JIT compilers and allocators, and measures how many images
 * a second this machine finishes.
 */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../../clock.js';
import type { Permit } from '../admission/permits.js';
import type { ServedModel } from '../models/served-model.js';
import { newImageRecord } from '../telemetry/record.js';
import type { Pipeline } from './pipeline.js';

export interface SmokeTestOptions {
  readonly pipeline: Pipeline;
  readonly model: ServedModel;
  readonly takePermit: () => Promise<Permit>;
  /** An image file. */
  readonly picture: Uint8Array;
  /** Images at a time: enough to keep every process busy, at most the number of permits. */
  readonly concurrency: number;
  readonly clock: Clock;
  /** Aborted: the images are cancelled, and the test rejects. */
  readonly signal?: AbortSignal;
}

/** Long enough for the figure to settle, short enough to start within a moment. */
const WARM_UP_MS = 100;
const MEASURE_MS = 200;
/** A slow model gets this long to warm up and to be measured, and the images begun by then. */
const LONGEST_MS = 1_000;

/**
 * @returns finished images a second, of pictures like the given one
 * @throws whatever the pipeline throws: a model that cannot answer a drawn picture cannot serve
 */
export async function measureThroughput(options: SmokeTestOptions): Promise<number> {
  const { concurrency } = options;
  const answerOne = answerer(options);
  await answerOne();
  const warmUp = await answerFor(answerOne, WARM_UP_MS, concurrency, options);
  // For a slow model the images of the warm-up are figure enough.
  const { finished, ms } =
    warmUp.ms > LONGEST_MS
      ? warmUp
      : await answerFor(answerOne, MEASURE_MS, 2 * concurrency, options);
  return (finished / ms) * 1000;
}

/**
 * Answers one image and then some `images` more, without measuring, for a model that joins
 * while others are served. Once it has settled, none of its images is left in the pipeline.
 */
export async function smokeTest(options: SmokeTestOptions, images: number): Promise<void> {
  const answerOne = answerer(options);
  await answerOne();
  await answerFor(answerOne, 0, images, options);
}

function answerer(options: SmokeTestOptions): () => Promise<void> {
  const { pipeline, model, takePermit, picture: image, clock } = options;
  const signal = options.signal ?? new AbortController().signal;
  // Every image listens to it.
  setMaxListeners(0, signal);
  return async () => {
    signal.throwIfAborted();
    const { slot, release } = await takePermit();
    const record = newImageRecord(clock.now());
    const asked = { model, image, slot, topK: 5, wantsEmbedding: false, ofStream: false };
    await pipeline.classify({ ...asked, signal, record }).finally(release);
  };
}

/** Answers images for this long, and at least this many, but begins none after LONGEST_MS. */
async function answerFor(
  answerOne: () => Promise<void>,
  milliseconds: number,
  images: number,
  { concurrency, clock }: SmokeTestOptions,
): Promise<{ readonly finished: number; readonly ms: number }> {
  const startedAt = clock.now();
  let finished = 0;
  let failed = false;
  const wantsMore = () => {
    const spent = clock.now() - startedAt;
    return !failed && spent < LONGEST_MS && (spent < milliseconds || finished < images);
  };
  const caller = async () => {
    while (wantsMore()) {
      await answerOne().catch((error: unknown) => {
        failed = true;
        throw error;
      });
      finished++;
    }
  };
  const callers = await Promise.allSettled(Array.from({ length: concurrency }, caller));
  for (const each of callers) if (each.status === 'rejected') throw each.reason;
  return { finished, ms: clock.now() - startedAt };
}
