/**
 * A day in the life of a dispatcher in simulated time: images come, leave and expire, processes
 * take as long as they are said to, are lost and come back. Nothing waits for a real clock, so
 * thousands of schedules are played in seconds.
 */

import type { Clock } from '#vitserve/clock.js';
import { RequestError } from '#vitserve/errors.js';
import type { BatchCost } from '#vitserve/server/scheduling/cost-table.js';
import { CostTable } from '#vitserve/server/scheduling/cost-table.js';
import { rejectionOf } from '#vitserve/server/scheduling/deadline-check.js';
import { Dispatcher } from '#vitserve/server/scheduling/dispatcher.js';
import { schedulingDeadlineOf } from '#vitserve/server/scheduling/scheduling-deadline.js';
import { ProcessLostError, type Worker, type WorkResult } from '#vitserve/workers/worker.js';
import { settled } from '../../../support/fake-worker.js';

/**
 * Time that stands still until the next thing is due, with everything that follows from it settled
 * first.
 */
export class SimulatedClock implements Clock {
  #now = 0;
  #timers: { readonly dueAt: number; readonly callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { dueAt: this.#now + delayMs, callback };
    const later = this.#timers.findIndex(({ dueAt }) => dueAt > timer.dueAt);
    this.#timers.splice(later < 0 ? this.#timers.length : later, 0, timer);
    return () => {
      const at = this.#timers.indexOf(timer);
      if (at >= 0) this.#timers.splice(at, 1);
    };
  }

  /** Until nothing is due any more. `check` is called whenever all has settled. */
  async run(check: () => void = () => {}): Promise<void> {
    for (let timer = this.#timers.shift(); timer !== undefined; timer = this.#timers.shift()) {
      this.#now = timer.dueAt;
      timer.callback();
      await settled();
      check();
    }
  }
}

export interface Arrival {
  readonly atMs: number;
  /** From the arrival; null: no deadline. */
  readonly deadlineMs: number | null;
  readonly ofStream?: boolean;
  /** When the image is cancelled, from the arrival; null: never. */
  readonly leavesMs?: number | null;
}

export interface Loss {
  readonly atMs: number;
  readonly worker: number;
  readonly downMs: number;
}

export interface SimulatedImage extends Arrival {
  readonly index: number;
  readonly expiresAt: number;
  /** When it would be answered, as estimated on arrival; null: unknown. */
  predictedAt: number | null;
  /** Why it is no longer there; null: it is. */
  gone: 'left' | 'expired' | null;
  /** When a process first got it; null: none did. */
  givenAt: number | null;
  /** How it ended, and when. `rejected`: because of its deadline. Null: not yet. */
  outcome: 'answered' | 'rejected' | 'left' | 'expired' | 'lost' | null;
  endedAt: number;
  result: string | null;
  rejection: RequestError | null;
  /** How often it was settled. */
  settlements: number;
}

type Images = readonly SimulatedImage[];

/**
 * A process that takes a given time, and skips images that are cancelled or expired when the turn
 * of their batch comes.
 */
export class SimulatedWorker implements Worker<SimulatedImage, string> {
  readonly #clock: SimulatedClock;
  readonly #serviceMs: (size: number) => number;
  #given: {
    images: Images;
    resolve: (results: readonly WorkResult<string>[]) => void;
    reject: (error: unknown) => void;
  }[] = [];
  #cancelEnd: () => void = () => {};
  ready = true;
  #changed: () => void = () => {};
  readonly #onBatch: (images: Images) => void;

  constructor(
    clock: SimulatedClock,
    serviceMs: (size: number) => number,
    onBatch: (images: Images) => void,
  ) {
    this.#clock = clock;
    this.#onBatch = onBatch;
    this.#serviceMs = serviceMs;
  }

  get inFlight(): number {
    return this.#given.length;
  }

  onChange(listener: () => void): void {
    this.#changed = listener;
  }

  run(images: Images): Promise<readonly WorkResult<string>[]> {
    this.#onBatch(images);
    return new Promise((resolve, reject) => {
      this.#given.push({ images, resolve, reject });
      if (this.#given.length === 1) this.#begin();
    });
  }

  lose(downMs: number): void {
    if (!this.ready) return;
    this.ready = false;
    this.#cancelEnd();
    for (const { reject } of this.#given.splice(0)) reject(new ProcessLostError('lost'));
    this.#changed();
    this.#clock.after(downMs, () => {
      this.ready = true;
      this.#changed();
    });
  }

  #begin(): void {
    const [current] = this.#given;
    if (current === undefined) return;
    const results = current.images.map(
      ({ gone, index }): WorkResult<string> =>
        gone === null ? { kind: 'done', output: `${index}!` } : { kind: 'skipped' },
    );
    const worked = results.filter(({ kind }) => kind === 'done').length;
    this.#cancelEnd = this.#clock.after(worked === 0 ? 0 : this.#serviceMs(worked), () => {
      this.#given.shift();
      this.#begin();
      current.resolve(results);
      this.#changed();
    });
  }
}

export interface SimulationOptions {
  readonly workers: number;
  readonly maxBatchSize: number;
  readonly overtakingLimitMs: number;
  readonly serviceMs: (size: number) => number;
  readonly warmUpCosts?: readonly BatchCost[];
  readonly arrivals: readonly Arrival[];
  readonly losses?: readonly Loss[];
  /**
   * Whether an image that cannot meet its deadline is rejected on arrival, as the pipeline does.
   */
  readonly rejectsEarly?: boolean;
  /** It waits from now on. */
  readonly onArrival?: (image: SimulatedImage) => void;
  readonly onEnd?: (image: SimulatedImage) => void;
  /** A batch is given to a process. */
  readonly onBatch?: (images: Images, now: number) => void;
  /** All has settled at a moment. */
  readonly onSettled?: (stand: {
    readonly workers: readonly SimulatedWorker[];
    readonly queueLength: number;
  }) => void;
}

/** Plays it to the end. Images by order of arrival. */
export async function simulate(options: SimulationOptions): Promise<Images> {
  const { maxBatchSize, overtakingLimitMs, warmUpCosts = [], rejectsEarly = true } = options;
  const clock = new SimulatedClock();
  const costs = new CostTable();
  for (const { batchSize, milliseconds } of warmUpCosts) costs.record(batchSize, milliseconds);
  const workers = Array.from(
    { length: options.workers },
    () =>
      new SimulatedWorker(clock, options.serviceMs, (images) => {
        options.onBatch?.(images, clock.now());
        for (const image of images) image.givenAt ??= clock.now();
      }),
  );
  const dispatcher = new Dispatcher<SimulatedImage, string>({
    workers,
    maxBatchSize,
    costs,
    clock,
    report: () => {},
  });

  const arrive = async (image: SimulatedImage): Promise<void> => {
    const leaving = new AbortController();
    const end = (outcome: NonNullable<SimulatedImage['outcome']>) => {
      image.settlements++;
      image.outcome = outcome;
      image.endedAt = clock.now();
      options.onEnd?.(image);
    };
    const goIn = (delayMs: number, why: 'left' | 'expired') =>
      clock.after(delayMs, () => {
        image.gone ??= why;
        leaving.abort(why);
      });
    const timers = [
      image.leavesMs == null ? null : goIn(image.leavesMs, 'left'),
      image.deadlineMs === null ? null : goIn(image.deadlineMs, 'expired'),
    ];
    const { atMs: admittedAt, expiresAt, ofStream = false } = image;
    const schedulingDeadline = schedulingDeadlineOf(
      { record: { admittedAt, expiresAt }, ofStream },
      overtakingLimitMs,
    );
    try {
      const finishMs = dispatcher.estimateMs(schedulingDeadline);
      image.predictedAt = finishMs === null ? null : clock.now() + finishMs;
      const leftMs = expiresAt - clock.now();
      const rejection = rejectsEarly && finishMs !== null ? rejectionOf(finishMs, leftMs) : null;
      if (rejection !== null) throw rejection;
      options.onArrival?.(image);
      const result = await dispatcher.add(image, {
        signal: leaving.signal,
        schedulingDeadline,
        expiresAt,
      });
      if (result.kind === 'done') image.result = result.output;
      end(result.kind === 'done' ? 'answered' : (image.gone ?? 'lost'));
    } catch (error) {
      if (error instanceof RequestError) {
        image.rejection = error;
        end(error.reason === 'DEADLINE_EXCEEDED' ? 'expired' : 'rejected');
      } else end(error === 'left' || error === 'expired' ? error : 'lost');
    }
    for (const cancel of timers) cancel?.();
  };

  const images = options.arrivals.map(
    (arrival, index): SimulatedImage => ({
      ...arrival,
      index,
      expiresAt:
        arrival.deadlineMs === null ? Number.POSITIVE_INFINITY : arrival.atMs + arrival.deadlineMs,
      predictedAt: null,
      gone: null,
      givenAt: null,
      outcome: null,
      endedAt: Number.NaN,
      result: null,
      rejection: null,
      settlements: 0,
    }),
  );
  for (const image of images) clock.after(image.atMs, () => void arrive(image));
  for (const { atMs, worker, downMs } of options.losses ?? [])
    clock.after(atMs, () => workers[worker]?.lose(downMs));
  await clock.run(() => options.onSettled?.({ workers, queueLength: dispatcher.queueLength }));
  return images;
}

/** Numbers from 0 to 1 that look like chance and are the same every time. */
export function chance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
