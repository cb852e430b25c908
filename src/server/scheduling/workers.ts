/**
 * The workers of a dispatcher: which of them takes the next batch, and when it will have done what
 * it was given.
 */
import type { Clock } from '../../clock.js';
import type { Worker, WorkResult } from '../../workers/worker.js';
import type { CostTable } from './cost-table.js';
import { WorkerLoad } from './worker-load.js';

/**
 * How long ago a batch must have been answered for an image to be rejected that no other image
 * precedes.
 */
const PROBE_AFTER_MS = 1_000;

export class Workers<Input, Output> {
  readonly #loads: ReadonlyMap<Worker<Input, Output>, WorkerLoad>;
  readonly #costs: CostTable;
  readonly #clock: Clock;
  readonly #maxInFlight: number;
  #answeredAt = Number.NEGATIVE_INFINITY;

  /**
   * `maxInFlight`: batches that a worker is given at most, with the one that it executes.
   * `onChange` is called when a worker can do more or less than before.
   */
  constructor(
    workers: readonly Worker<Input, Output>[],
    costs: CostTable,
    clock: Clock,
    maxInFlight: number,
    onChange: () => void,
  ) {
    this.#costs = costs;
    this.#clock = clock;
    this.#maxInFlight = maxInFlight;
    this.#loads = new Map(workers.map((worker) => [worker, new WorkerLoad()]));
    for (const [worker, load] of this.#loads) {
      worker.onChange(() => {
        const now = clock.now();
        if (load.answered(worker.inFlight, now) > 0) this.#answeredAt = now;
        onChange();
      });
    }
  }

  /** Images that were given to a worker and are not answered. */
  get images(): number {
    let images = 0;
    for (const load of this.#loads.values()) images += load.images;
    return images;
  }

  /** Workers that have nothing to do. */
  get idle(): number {
    let idle = 0;
    for (const { ready, inFlight } of this.#loads.keys()) if (ready && inFlight === 0) idle++;
    return idle;
  }

  /** The one with the fewest batches of those that take another; undefined where none does. */
  freest(): Worker<Input, Output> | undefined {
    let freest: Worker<Input, Output> | undefined;
    for (const worker of this.#loads.keys()) {
      if (!worker.ready || worker.inFlight >= this.#maxInFlight) continue;
      if (freest === undefined || worker.inFlight < freest.inFlight) freest = worker;
    }
    return freest;
  }

  /** For each worker that takes batches: milliseconds until it has done what it was given. */
  freeInMs(): number[] {
    const now = this.#clock.now();
    return [...this.#loads].flatMap(([worker, load]) =>
      worker.ready ? load.remainingMs(this.#costs, now) : [],
    );
  }

  /**
   * Whether a batch given now, to this worker or to any, should show what batches cost instead of
   * being judged by what they did cost: the worker is idle, and no batch was answered for
   * PROBE_AFTER_MS. A table that is too high could otherwise reject every image and never learn.
   */
  probes(worker?: Worker<Input, Output>): boolean {
    const isIdle = worker === undefined ? this.idle > 0 : worker.inFlight === 0;
    return isIdle && this.#clock.now() - this.#answeredAt > PROBE_AFTER_MS;
  }

  /**
   * Milliseconds until this worker would have answered a batch of so many images given now; 0 for a
   * batch that probes.
   */
  finishMs(worker: Worker<Input, Output>, images: number): number {
    if (this.probes(worker)) return 0;
    return (
      this.#loadOf(worker).remainingMs(this.#costs, this.#clock.now()) +
      (this.#costs.of(images) ?? 0)
    );
  }

  /** Gives a batch to a worker. The cost table learns what it took. */
  async run(
    worker: Worker<Input, Output>,
    batch: readonly Input[],
  ): Promise<readonly WorkResult<Output>[]> {
    const load = this.#loadOf(worker);
    const execution = load.begin(batch.length, this.#clock.now());
    try {
      const results = await worker.run(batch);
      const done = results.filter(({ kind }) => kind === 'done').length;
      // A batch of which nothing was worked on says nothing about costs.
      if (done > 0) this.#costs.record(done, execution.tookMs);
      return results;
    } catch (error) {
      load.forget(execution);
      throw error;
    }
  }

  #loadOf(worker: Worker<Input, Output>): WorkerLoad {
    return this.#loads.get(worker) as WorkerLoad;
  }
}
