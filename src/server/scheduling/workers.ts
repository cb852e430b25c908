/**
 * The workers of a dispatcher: which of them takes the next batch, and when each finishes what it
 * has.
 */
import type { Clock } from '../../clock.js';
import type { Worker, WorkResult } from '../../workers/worker.js';
import type { CostTable } from './cost-table.js';

/** After this long without an answer an idle worker probes (`probes`). */
const PROBE_AFTER_MS = 1_000;

export class Workers<Input, Output> {
  readonly #loads: ReadonlyMap<Worker<Input, Output>, WorkerLoad>;
  readonly #costs: CostTable;
  readonly #clock: Clock;
  readonly #maxInFlight: number;
  #answeredAt = Number.NEGATIVE_INFINITY;

  /**
   * @param maxInFlight the most batches of a worker, with the one that it executes
   * @param onChange called when a worker can take more or fewer batches than before
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
        // A lost worker has no batches left either, but it has not answered them.
        if (load.answered(worker.inFlight, now) > 0 && worker.ready) this.#answeredAt = now;
        onChange();
      });
    }
  }

  /** Images that workers have and have not answered. */
  get images(): number {
    let images = 0;
    for (const load of this.#loads.values()) images += load.images;
    return images;
  }

  /** The number of ready workers with nothing to do. */
  get idle(): number {
    let idle = 0;
    for (const { ready, inFlight } of this.#loads.keys()) if (ready && inFlight === 0) idle++;
    return idle;
  }

  /** Of the workers that take another batch, the one with the fewest; undefined: there is none. */
  freest(): Worker<Input, Output> | undefined {
    let freest: Worker<Input, Output> | undefined;
    for (const worker of this.#loads.keys()) {
      if (!worker.ready || worker.inFlight >= this.#maxInFlight) continue;
      if (freest === undefined || worker.inFlight < freest.inFlight) freest = worker;
    }
    return freest;
  }

  /** For each ready worker: milliseconds until it finishes what it has. */
  freeInMs(): number[] {
    const now = this.#clock.now();
    return [...this.#loads].flatMap(([worker, load]) =>
      worker.ready ? load.remainingMs(this.#costs, now) : [],
    );
  }

  /**
   * Whether a batch for this worker, or for any, should measure the cost instead of being judged by
   * the table: the worker is idle, and no batch was answered for PROBE_AFTER_MS. Otherwise a table
   * with too high costs could reject every image and never learn.
   */
  probes(worker?: Worker<Input, Output>): boolean {
    const isIdle = worker === undefined ? this.idle > 0 : worker.inFlight === 0;
    return isIdle && this.#clock.now() - this.#answeredAt > PROBE_AFTER_MS;
  }

  /**
   * Milliseconds until this worker would answer a batch of this size given now; 0 for a batch that
   * probes.
   */
  finishMs(worker: Worker<Input, Output>, images: number): number {
    if (this.probes(worker)) return 0;
    return (
      this.#loadOf(worker).remainingMs(this.#costs, this.#clock.now()) +
      (this.#costs.of(images) ?? 0)
    );
  }

  /** Gives a batch to a worker, and records its cost. */
  async run(
    worker: Worker<Input, Output>,
    batch: readonly Input[],
  ): Promise<readonly WorkResult<Output>[]> {
    const load = this.#loadOf(worker);
    const execution = load.begin(batch.length, this.#clock.now());
    try {
      const results = await worker.run(batch);
      const done = results.filter(({ kind }) => kind === 'done').length;
      // A batch of which the worker skipped or rejected everything says nothing about costs.
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

/** A batch that a worker has. */
interface Execution {
  readonly images: number;
  /** Set when it is answered. */
  tookMs: number;
}

/**
 * The batches that one worker has and has not answered: how long each took, and how long the rest
 * will take.
 *
 * The front takes the times: from when the worker had nothing else to do until the front read its
 * answer. They include the way between the processes, because an image waits for that too. The
 * caller passes the time.
 */
export class WorkerLoad {
  #given: Execution[] = [];
  #since = 0;

  /** Images in these batches. */
  get images(): number {
    return this.#given.reduce((sum, { images }) => sum + images, 0);
  }

  begin(images: number, now: number): Execution {
    if (this.#given.length === 0) this.#since = now;
    const execution = { images, tookMs: 0 };
    this.#given.push(execution);
    return execution;
  }

  /** The worker has `left` batches left. Returns how many it has answered since the last call. */
  answered(left: number, now: number): number {
    const done = Math.max(0, this.#given.length - left);
    for (let batch = 0; batch < done; batch++) {
      const oldest = this.#given.shift() as Execution;
      oldest.tookMs = now - this.#since;
      this.#since = now;
    }
    return done;
  }

  /** Drops a batch that failed. */
  forget(execution: Execution): void {
    this.#given = this.#given.filter((other) => other !== execution);
  }

  /** Milliseconds until the worker has answered everything. An overdue batch counts as 0. */
  remainingMs(costs: CostTable, now: number): number {
    return this.#given.reduce((sum, { images }, at) => {
      const cost = costs.of(images) ?? 0;
      return sum + (at === 0 ? Math.max(0, cost - (now - this.#since)) : cost);
    }, 0);
  }
}
