/**
 * Dynamic batching: images wait in one queue and leave in batches as processes become free, the
 * most urgent first.
 *
 * Work-conserving: a free process is never left idle while an image waits, so a lone image is not
 * delayed for company.
 * Batches grow only because, and only while, every process is busy. Beside the batch that it
 * executes a process is given one more in advance, but only where a full one waits, since an early
 * small batch would be a smaller batch for nothing; where batches have one image (decoders) that is
 * the next image. Waiting images are shared out evenly between free processes.
 *
 * What holds: every image added is settled exactly once; one that has left (abort signal) is taken
 * out of the queue at once and never put into a batch; no batch is larger than `maxBatchSize`;
 * order is that of `scheduling-deadline.ts`. An image that can't be answered in time any more when
 * its turn comes is refused (DEADLINE_UNREACHABLE), and one that would make another late waits for
 * the next batch (`form-batch.ts`). A batch that is lost with its process is executed again image
 * by image, each by a process that does nothing else when it is given the image, up to MAX_ATTEMPTS
 * times in all: so one image that kills its process does not fail the others. Whose image was alone
 * with a process that was lost is told so (`onSuspicion`).
 *
 * Pure logic: it knows lanes and promises, no processes; time comes from a clock. It learns by
 * itself what batches cost, and never refuses anybody by a table that is empty, or that may have
 * grown old (`Lanes.probes`).
 */
import type { Clock } from '../../clock.js';
import { Arrivals } from './arrivals.js';
import { estimateCompletionMs } from './completion-estimate.js';
import type { CostTable } from './cost-table.js';
import { unreachable } from './deadline-check.js';
import { DeadlineQueue } from './deadline-queue.js';
import { type Expiring, formBatch } from './form-batch.js';
import type { BatchLane } from './lane.js';
import { Lanes } from './lanes.js';

/** Times an image may be given to a process before its loss is the caller's to know. */
export const MAX_ATTEMPTS = 3;

/** One executing and one in advance. */
const ONE_IN_ADVANCE = 2;

export interface DispatchObserver {
  /** Images in the queue, after every change. */
  queueLength(length: number): void;
  /** An image goes back to the queue because its process was lost. */
  retried(): void;
}

/** What an image comes with. Times are monotonic milliseconds. */
export interface Terms {
  /** Aborted when the image leaves; its reason is what the image is rejected with. */
  readonly signal: AbortSignal;
  /** `schedulingDeadlineOf`. */
  readonly schedulingDeadline: number;
  /** Infinity: no deadline. */
  readonly expiresAt: number;
  /**
   * The image was executed alone and may have ended the process, as the error says. What this
   * returns is what the image is rejected with instead of being executed again; null: it may be.
   */
  readonly onSuspicion?: ((error: unknown) => unknown) | undefined;
}

interface Waiting<Image, Result> extends Expiring, Terms {
  readonly image: Image;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  readonly leave: () => void;
  attempts: number;
}

export interface DispatcherOptions<Image, Result, Call, Reply> {
  readonly lanes: readonly BatchLane<Call, Reply>[];
  readonly maxBatchSize: number;
  /** Batches that a process is given at most, with the one that it executes. 1: none in advance. */
  readonly maxInFlight?: number;
  /** What batches cost, as far as it is known; goes on learning here. */
  readonly costs: CostTable;
  readonly clock: Clock;
  readonly toCall: (images: readonly Image[]) => Call;
  /** One result for each image of the batch, in its order. */
  readonly toResults: (reply: Reply, images: readonly Image[]) => readonly Result[];
  /**
   * How many images of the batch were really worked on; a batch of none says nothing about costs.
   */
  readonly workedOn: (reply: Reply) => number;
  /**
   * Whether an execution failed because the process was lost (and not because of what it was
   * given).
   */
  readonly isLoss: (error: unknown) => boolean;
  /** Whether what the process was executing may have ended it. */
  readonly isSuspicion: (error: unknown) => boolean;
  readonly observer: DispatchObserver;
}

export class Dispatcher<Image, Result, Call, Reply> {
  readonly #options: DispatcherOptions<Image, Result, Call, Reply>;
  readonly #lanes: Lanes<Call, Reply>;
  readonly #arrivals = new Arrivals();
  readonly #queue = new DeadlineQueue<Waiting<Image, Result>>();
  /** Images that lost a process; they go first, each alone. */
  readonly #retries: Waiting<Image, Result>[] = [];
  #order = 0;

  constructor(options: DispatcherOptions<Image, Result, Call, Reply>) {
    this.#options = options;
    const { lanes, costs, clock, maxInFlight = ONE_IN_ADVANCE } = options;
    this.#lanes = new Lanes({ lanes, costs, clock, maxInFlight }, () => this.#dispatch());
  }

  get queueLength(): number {
    return this.#queue.size + this.#retries.length;
  }

  /** Images that wait or are being worked on. */
  get images(): number {
    return this.queueLength + this.#lanes.images;
  }

  /** How many of them go before one of this scheduling deadline that came now. */
  countBefore(schedulingDeadline: number): number {
    return this.#lanes.images + this.#retries.length + this.#queue.countBefore(schedulingDeadline);
  }

  /**
   * Milliseconds until an image of this scheduling deadline would be answered that comes in `inMs`,
   * with `ahead` images before it that have not come yet either. Null where that can't be told.
   */
  estimateMs(schedulingDeadline: number, { inMs = 0, ahead = 0 } = {}): number | null {
    const { maxBatchSize, costs } = this.#options;
    const before = ahead + this.#queue.countBefore(schedulingDeadline);
    if (before === 0 && this.#lanes.probes()) return inMs;
    const finishMs = estimateCompletionMs({
      freeInMs: this.#lanes.freeInMs(),
      alone: this.#retries.length,
      ahead: before,
      maxBatchSize,
      gapMs: this.#arrivals.meanGapMs,
      costs,
    });
    return finishMs === null ? null : Math.max(finishMs, inMs + (costs.of(1) ?? 0));
  }

  /**
   * Rejects with the signal's reason when the image leaves before it is given to a process, or with
   * DEADLINE_UNREACHABLE.
   */
  add(image: Image, terms: Terms): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const { signal, schedulingDeadline, expiresAt, onSuspicion } = terms;
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const waiting: Waiting<Image, Result> = {
        image,
        signal,
        schedulingDeadline,
        expiresAt,
        onSuspicion,
        order: this.#order++,
        resolve,
        reject,
        leave: () => this.#leave(waiting),
        attempts: 0,
      };
      signal.addEventListener('abort', waiting.leave, { once: true });
      this.#arrivals.note(this.#options.clock.now());
      this.#queue.add(waiting);
      this.#dispatch();
    });
  }

  #leave(waiting: Waiting<Image, Result>): void {
    if (!this.#queue.delete(waiting)) this.#retries.splice(this.#retries.indexOf(waiting), 1);
    this.#options.observer.queueLength(this.queueLength);
    waiting.reject(waiting.signal.reason);
  }

  #dispatch(): void {
    while (this.queueLength > 0) {
      const lane = this.#lanes.freest();
      if (lane === undefined) break;
      const [alone] = this.#retries;
      if (alone !== undefined) {
        // Never in advance: behind an image that kills its process it would be lost along with that
        // one each time.
        if (lane.inFlight > 0) break;
        this.#retries.shift();
        this.#send(lane, [alone]);
        continue;
      }
      const share = this.#share(lane);
      if (share === 0) break;
      const batch = this.#take(lane, share);
      if (batch.length > 0) this.#send(lane, batch);
    }
    this.#options.observer.queueLength(this.queueLength);
  }

  /** How many of the waiting images this lane gets now. */
  #share(lane: BatchLane<Call, Reply>): number {
    const { maxBatchSize } = this.#options;
    const waiting = this.#queue.size;
    if (lane.inFlight > 0) return waiting >= maxBatchSize ? maxBatchSize : 0;
    return Math.min(maxBatchSize, Math.ceil(waiting / this.#lanes.idle));
  }

  /** Takes the next batch out of the queue; refuses who can't be answered in time. */
  #take(lane: BatchLane<Call, Reply>, share: number): readonly Waiting<Image, Result>[] {
    const { clock, maxBatchSize } = this.#options;
    const now = clock.now();
    const finishAt = (images: number) => now + this.#lanes.finishMs(lane, images);
    const least = share === maxBatchSize ? share : 1;
    const { batch, late } = formBatch(this.#queue, share, least, finishAt);
    for (const { signal, leave, reject, expiresAt } of late) {
      signal.removeEventListener('abort', leave);
      reject(unreachable(finishAt(least) - now, expiresAt - now));
    }
    if (lane.inFlight === 0 || batch.length === share) return batch;
    // Those who were refused are missing for a full one, and in advance only a full one is given.
    for (const image of batch) this.#queue.add(image);
    return [];
  }

  #send(lane: BatchLane<Call, Reply>, batch: readonly Waiting<Image, Result>[]): void {
    const { toCall, toResults, workedOn, costs } = this.#options;
    for (const { signal, leave } of batch) signal.removeEventListener('abort', leave);
    const execution = this.#lanes.begin(lane, batch.length);
    const images = batch.map(({ image }) => image);
    lane
      .call(toCall(images))
      .then((reply) => {
        const size = workedOn(reply);
        if (size > 0) costs.record(size, execution.tookMs);
        return toResults(reply, images);
      })
      .then(
        (results) => {
          for (const [index, waiting] of batch.entries()) waiting.resolve(results[index] as Result);
        },
        (error: unknown) => {
          this.#lanes.forget(lane, execution);
          this.#failed(batch, error);
        },
      );
  }

  #failed(batch: readonly Waiting<Image, Result>[], error: unknown): void {
    const isLoss = this.#options.isLoss(error);
    const [first] = batch;
    // Asked also where nobody waits any more: what it did is worth remembering.
    const verdict =
      batch.length === 1 && this.#options.isSuspicion(error)
        ? (first?.onSuspicion?.(error) ?? null)
        : null;
    for (const waiting of batch) {
      waiting.attempts++;
      if (waiting.signal.aborted) waiting.reject(waiting.signal.reason);
      else if (verdict !== null) waiting.reject(verdict);
      else if (!isLoss || waiting.attempts >= MAX_ATTEMPTS) waiting.reject(error);
      else {
        this.#options.observer.retried();
        waiting.signal.addEventListener('abort', waiting.leave, { once: true });
        this.#retries.push(waiting);
      }
    }
    this.#dispatch();
  }
}
