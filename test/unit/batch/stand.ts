/** A dispatcher over fake lanes whose images are numbers and whose result for image n is `n!`. */
import { Dispatcher } from '#vitserve/batch/dispatcher.js';
import { ProcessLostError } from '#vitserve/process/lane.js';
import { FakeLane, type Outcome, watch } from '../../support/fake-lane.js';

export type NumberLane = FakeLane<readonly number[], readonly string[]>;

export interface Stand {
  readonly lanes: readonly NumberLane[];
  readonly dispatcher: Dispatcher<number, string, readonly number[], readonly string[]>;
  /** Every batch that was formed, in order, whichever lane got it. */
  readonly formed: (readonly number[])[];
  /** Queue lengths in the order in which they were told. */
  readonly lengths: number[];
  readonly retries: { count: number };
  /** Adds the next image. */
  add(signal?: AbortSignal): { readonly state: Outcome<string> };
}

/** One lane, all of them ready, unless said otherwise. */
export function createStand(options: {
  readonly lanes?: number;
  readonly maxBatchSize: number;
  readonly ready?: boolean;
  readonly toResults?: (reply: readonly string[], images: readonly number[]) => readonly string[];
}): Stand {
  const { lanes: count = 1, maxBatchSize, ready = true, toResults = (reply) => reply } = options;
  const lanes = Array.from({ length: count }, (): NumberLane => new FakeLane({ ready }));
  const formed: (readonly number[])[] = [];
  const lengths: number[] = [];
  const retries = { count: 0 };
  const dispatcher = new Dispatcher<number, string, readonly number[], readonly string[]>({
    lanes,
    maxBatchSize,
    toCall: (images) => {
      formed.push(images);
      return images;
    },
    toResults,
    isLoss: (error) => error instanceof ProcessLostError,
    observer: {
      queueLength: (length) => lengths.push(length),
      retried: () => retries.count++,
    },
  });
  let next = 0;
  return {
    lanes,
    dispatcher,
    formed,
    lengths,
    retries,
    add: (signal = new AbortController().signal) => watch(dispatcher.add(next++, signal)),
  };
}

/** Answers the oldest batch of a lane as an honest process does. */
export function answer(lane: NumberLane): void {
  const images = lane.pending[0] ?? [];
  lane.answer(images.map((image) => `${image}!`));
}
