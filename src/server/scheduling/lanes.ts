/**
 * The processes of a dispatcher: which of them takes the next batch, what each has in hand, and
 * when it will be done with it.
 */
import type { Clock } from '../../clock.js';
import type { CostTable } from './cost-table.js';
import type { BatchLane } from './lane.js';
import { type Execution, LaneWork } from './lane-work.js';

/**
 * How long ago a batch must have been answered for a caller to be refused where nobody is before
 * him.
 */
const PROBE_AFTER_MS = 1_000;

export interface LanesOptions<Call, Reply> {
  readonly lanes: readonly BatchLane<Call, Reply>[];
  readonly costs: CostTable;
  readonly clock: Clock;
  /** Batches that a process is given at most, with the one that it executes. */
  readonly maxInFlight: number;
}

export class Lanes<Call, Reply> {
  readonly #work: ReadonlyMap<BatchLane<Call, Reply>, LaneWork>;
  readonly #costs: CostTable;
  readonly #clock: Clock;
  readonly #maxInFlight: number;
  #answeredAt = Number.NEGATIVE_INFINITY;

  /** `onChange` is called when a process can do more or less than before. */
  constructor(
    { lanes, costs, clock, maxInFlight }: LanesOptions<Call, Reply>,
    onChange: () => void,
  ) {
    this.#costs = costs;
    this.#clock = clock;
    this.#maxInFlight = maxInFlight;
    this.#work = new Map(lanes.map((lane) => [lane, new LaneWork()]));
    for (const [lane, work] of this.#work) {
      lane.onChange = () => {
        const now = clock.now();
        if (work.answered(lane.inFlight, now) > 0) this.#answeredAt = now;
        onChange();
      };
    }
  }

  /** Images that were given to a process and are not answered. */
  get images(): number {
    let images = 0;
    for (const work of this.#work.values()) images += work.images;
    return images;
  }

  /** Processes that have nothing to do. */
  get idle(): number {
    let idle = 0;
    for (const { ready, inFlight } of this.#work.keys()) if (ready && inFlight === 0) idle++;
    return idle;
  }

  /** The one with the least in hand of those that take a batch; undefined where none does. */
  freest(): BatchLane<Call, Reply> | undefined {
    let freest: BatchLane<Call, Reply> | undefined;
    for (const lane of this.#work.keys()) {
      if (!lane.ready || lane.inFlight >= this.#maxInFlight) continue;
      if (freest === undefined || lane.inFlight < freest.inFlight) freest = lane;
    }
    return freest;
  }

  /** Milliseconds until it is done, for each process that takes batches. */
  freeInMs(): number[] {
    const now = this.#clock.now();
    return [...this.#work].flatMap(([lane, work]) =>
      lane.ready ? work.remainingMs(this.#costs, now) : [],
    );
  }

  /**
   * Whether a batch given now, to this process or to any, is to show what things cost rather than
   * be judged by what they did: the process is idle, and nothing was answered for PROBE_AFTER_MS. A
   * table that is too high could otherwise refuse everybody and never learn better.
   */
  probes(lane?: BatchLane<Call, Reply>): boolean {
    const isIdle = lane === undefined ? this.idle > 0 : lane.inFlight === 0;
    return isIdle && this.#clock.now() - this.#answeredAt > PROBE_AFTER_MS;
  }

  /**
   * Milliseconds until a batch of so many images would be answered that this process is given now;
   * 0 for one that probes.
   */
  finishMs(lane: BatchLane<Call, Reply>, images: number): number {
    if (this.probes(lane)) return 0;
    return (
      this.#workOf(lane).remainingMs(this.#costs, this.#clock.now()) + (this.#costs.of(images) ?? 0)
    );
  }

  /** To be called just before the lane is. */
  begin(lane: BatchLane<Call, Reply>, images: number): Execution {
    return this.#workOf(lane).begin(images, this.#clock.now());
  }

  /** A batch that came to nothing. */
  forget(lane: BatchLane<Call, Reply>, execution: Execution): void {
    this.#workOf(lane).forget(execution);
  }

  #workOf(lane: BatchLane<Call, Reply>): LaneWork {
    return this.#work.get(lane) as LaneWork;
  }
}
