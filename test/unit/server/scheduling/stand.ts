/** A dispatcher over fake lanes whose images are numbers and whose result for image n is `n!`. */
import { CostTable } from '#vitserve/server/scheduling/cost-table.js';
import { Dispatcher, type Terms } from '#vitserve/server/scheduling/dispatcher.js';
import { ProcessLostError } from '#vitserve/workers/process/lane.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { FakeLane, type Outcome, watch } from '../../../support/fake-lane.js';

export type NumberLane = FakeLane<readonly number[], readonly string[]>;

export interface Stand {
  readonly lanes: readonly NumberLane[];
  readonly clock: FakeClock;
  readonly costs: CostTable;
  readonly dispatcher: Dispatcher<number, string, readonly number[], readonly string[]>;
  /** Every batch that was formed, in order, whichever lane got it. */
  readonly formed: (readonly number[])[];
  /** Queue lengths in the order in which they were told. */
  readonly lengths: number[];
  readonly retries: { count: number };
  /** Adds the next image; first come, first served, unless the terms say otherwise. */
  add(signal?: AbortSignal, terms?: Partial<Terms>): { readonly state: Outcome<string> };
}

/** One lane, all of them ready, unless said otherwise. */
export function createStand(options: {
  readonly lanes?: number;
  readonly maxBatchSize: number;
  readonly ready?: boolean;
  readonly maxInFlight?: number;
  readonly toResults?: (reply: readonly string[], images: readonly number[]) => readonly string[];
}): Stand {
  const { lanes: count = 1, maxBatchSize, ready = true, toResults = (reply) => reply } = options;
  const clock = new FakeClock();
  const costs = new CostTable();
  const lanes = Array.from({ length: count }, (): NumberLane => new FakeLane({ ready }));
  const formed: (readonly number[])[] = [];
  const lengths: number[] = [];
  const retries = { count: 0 };
  const dispatcher = new Dispatcher<number, string, readonly number[], readonly string[]>({
    lanes,
    maxBatchSize,
    ...(options.maxInFlight === undefined ? {} : { maxInFlight: options.maxInFlight }),
    costs,
    clock,
    toCall: (images) => {
      formed.push(images);
      return images;
    },
    toResults,
    workedOn: (reply) => reply.length,
    isLoss: (error) => error instanceof ProcessLostError,
    isSuspicion: (error) => error instanceof ProcessLostError && error.suspect,
    observer: {
      queueLength: (length) => lengths.push(length),
      retried: () => retries.count++,
    },
  });
  let next = 0;
  return {
    lanes,
    clock,
    costs,
    dispatcher,
    formed,
    lengths,
    retries,
    add: (signal = new AbortController().signal, terms = {}) =>
      watch(
        dispatcher.add(next++, {
          signal,
          schedulingDeadline: 0,
          expiresAt: Number.POSITIVE_INFINITY,
          ...terms,
        }),
      ),
  };
}

/** Answers the oldest batch of a lane as an honest process does. */
export function answer(lane: NumberLane): void {
  const images = lane.pending[0] ?? [];
  lane.answer(images.map((image) => `${image}!`));
}
