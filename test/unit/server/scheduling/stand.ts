/** A dispatcher over fake workers whose inputs are numbers and whose output for n is `n!`. */
import { CostTable } from '#vitserve/server/scheduling/cost-table.js';
import { Dispatcher, type Terms } from '#vitserve/server/scheduling/dispatcher.js';
import type { WorkResult } from '#vitserve/workers/worker.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { FakeWorker, type Outcome, watch } from '../../../support/fake-worker.js';

export type NumberWorker = FakeWorker<number, string>;

export interface Stand {
  readonly workers: readonly NumberWorker[];
  readonly clock: FakeClock;
  readonly costs: CostTable;
  readonly dispatcher: Dispatcher<number, string>;
  /** Every batch that was formed, in order, whichever worker got it. */
  readonly formed: (readonly number[])[];
  /** What the dispatcher reported: `executed OUTPUT` or `retried`. */
  readonly events: string[];
  readonly retries: { readonly count: number };
  /** Adds the next image; first come, first served, unless the terms say otherwise. */
  add(signal?: AbortSignal, terms?: Partial<Terms>): { readonly state: Outcome<string> };
}

/** One worker, all of them ready, unless said otherwise. */
export function createStand(options: {
  readonly workers?: number;
  readonly maxBatchSize: number;
  readonly ready?: boolean;
  readonly maxInFlight?: number;
}): Stand {
  const { workers: count = 1, maxBatchSize, ready = true } = options;
  const clock = new FakeClock();
  const costs = new CostTable();
  const formed: (readonly number[])[] = [];
  class RecordedWorker extends FakeWorker<number, string> {
    override run(batch: readonly number[]) {
      formed.push(batch);
      return super.run(batch);
    }
  }
  const workers = Array.from({ length: count }, () => new RecordedWorker({ ready }));
  const events: string[] = [];
  const dispatcher = new Dispatcher<number, string>({
    workers,
    maxBatchSize,
    ...(options.maxInFlight === undefined ? {} : { maxInFlight: options.maxInFlight }),
    costs,
    clock,
    report: (event) =>
      events.push(event.kind === 'executed' ? `executed ${event.output}` : event.kind),
  });
  let next = 0;
  return {
    workers,
    clock,
    costs,
    dispatcher,
    formed,
    events,
    retries: {
      get count() {
        return events.filter((event) => event === 'retried').length;
      },
    },
    add: (signal = new AbortController().signal, terms = {}) =>
      watch(
        dispatcher
          .add(next++, {
            signal,
            schedulingDeadline: 0,
            expiresAt: Number.POSITIVE_INFINITY,
            ...terms,
          })
          .then(outputOf),
      ),
  };
}

/** `skipped` for an input that was not worked on. */
function outputOf(result: WorkResult<string>): string {
  return result.kind === 'done' ? result.output : result.kind;
}

/** Answers the oldest batch of a worker as an honest process does. */
export function answer(worker: NumberWorker): void {
  worker.answer(...(worker.pending[0] ?? []).map((image) => `${image}!`));
}
