/**
 * Dynamic batching: images wait in one queue and leave it in batches as workers become free, the
 * smallest scheduling deadline first.
 *
 * It is work-conserving: no free worker idles while an image waits, so a lone image does not wait
 * for others. Batches grow only while every worker is busy. A worker gets one more batch in advance
 * of the one that it executes, but only a full one: an early small batch would be small for
 * nothing. Free workers share the waiting images evenly.
 *
 * What holds: every added image is settled exactly once. A cancelled image (abort signal) leaves
 * the queue at once and enters no batch. No batch is larger than `maxBatchSize`. An image that
 * cannot meet its deadline when its turn comes is rejected (DEADLINE_UNREACHABLE), and one that
 * would make another late waits for the next batch (`form-batch.ts`). When a batch is lost with its
 * process, its images are retried one by one, each on an idle worker, up to MAX_ATTEMPTS times in
 * all: so an image that kills its process does not fail the others. Where an image was alone in a
 * process whose loss was self-inflicted, `suspect` decides whether it is retried.
 *
 * Pure logic: workers, promises and a clock, no processes. It learns what batches cost, and rejects
 * no image by a table that is empty or may be outdated (`Workers.probes`).
 */
import type { Clock } from '../../clock.js';
import { ProcessLostError, type Worker, type WorkResult } from '../../workers/worker.js';
import { Arrivals } from './arrivals.js';
import { estimateCompletionMs } from './completion-estimate.js';
import type { CostTable } from './cost-table.js';
import { deadlineUnreachable } from './deadline-check.js';
import { DeadlineQueue } from './deadline-queue.js';
import { type Expiring, formBatch } from './form-batch.js';
import { Workers } from './workers.js';

/** How often a worker gets an image before the image fails with the loss. */
export const MAX_ATTEMPTS = 3;

/** One executing and one in advance. */
const ONE_IN_ADVANCE = 2;

/** The terms of one image. Times are monotonic milliseconds. */
export interface Terms {
  /** Aborted when the image is cancelled; the image is rejected with its reason. */
  readonly signal: AbortSignal;
  /** `schedulingDeadlineOf`. */
  readonly schedulingDeadline: number;
  /** Infinity: no deadline. */
  readonly expiresAt: number;
  /**
   * Called when the image was alone in a process and may have ended it. Returns the error to reject
   * the image with; null: retry.
   */
  suspect?(loss: ProcessLostError): Error | null;
}

export type DispatchEvent<Output> =
  /** A batch was executed; one of its outputs. */
  | { readonly kind: 'executed'; readonly output: Output }
  /** An image waits again because its process was lost. */
  | { readonly kind: 'retried' };

export interface DispatcherOptions<Input, Output> {
  readonly workers: readonly Worker<Input, Output>[];
  readonly maxBatchSize: number;
  /** The most batches of a worker, with the one that it executes. 1: none in advance. */
  readonly maxInFlight?: number;
  /** What is known of the cost of batches; the dispatcher adds what it learns. */
  readonly costs: CostTable;
  readonly clock: Clock;
  readonly report: (event: DispatchEvent<Output>) => void;
}

interface Waiting<Input, Output> extends Expiring {
  readonly input: Input;
  readonly terms: Terms;
  readonly resolve: (result: WorkResult<Output>) => void;
  readonly reject: (error: unknown) => void;
  readonly cancel: () => void;
  attempts: number;
}

export class Dispatcher<Input, Output> {
  readonly #options: DispatcherOptions<Input, Output>;
  readonly #workers: Workers<Input, Output>;
  readonly #arrivals = new Arrivals();
  readonly #queue = new DeadlineQueue<Waiting<Input, Output>>();
  /** Images that lost their process. They go first, each alone. */
  readonly #retries: Waiting<Input, Output>[] = [];
  #order = 0;

  constructor(options: DispatcherOptions<Input, Output>) {
    const { workers, costs, clock, maxInFlight = ONE_IN_ADVANCE } = options;
    this.#options = options;
    this.#workers = new Workers(workers, costs, clock, maxInFlight, () => this.#dispatch());
  }

  get queueLength(): number {
    return this.#queue.size + this.#retries.length;
  }

  /** Images that wait or that a worker has. */
  get images(): number {
    return this.queueLength + this.#workers.images;
  }

  /** How many of them go before an image with this scheduling deadline that arrives now. */
  countBefore(schedulingDeadline: number): number {
    const waiting = this.#retries.length + this.#queue.countBefore(schedulingDeadline);
    return this.#workers.images + waiting;
  }

  /**
   * Milliseconds until the answer to an image with this scheduling deadline that arrives in `inMs`,
   * behind `ahead` other images that are still on their way. Null: unknown.
   */
  estimateMs(schedulingDeadline: number, { inMs = 0, ahead = 0 } = {}): number | null {
    const { maxBatchSize, costs } = this.#options;
    const before = ahead + this.#queue.countBefore(schedulingDeadline);
    if (before === 0 && this.#workers.probes()) return inMs;
    const finishMs = estimateCompletionMs({
      freeInMs: this.#workers.freeInMs(),
      alone: this.#retries.length,
      ahead: before,
      maxBatchSize,
      gapMs: this.#arrivals.meanGapMs,
      costs,
    });
    return finishMs === null ? null : Math.max(finishMs, inMs + (costs.of(1) ?? 0));
  }

  /**
   * Resolves to a worker's result for the input. Rejects with the reason of the signal when the
   * image is cancelled before a worker has it, with DEADLINE_UNREACHABLE or DEADLINE_EXCEEDED, with
   * the error of `suspect`, or with that of the worker (ProcessLostError).
   */
  add(input: Input, terms: Terms): Promise<WorkResult<Output>> {
    return new Promise((resolve, reject) => {
      const { signal, schedulingDeadline, expiresAt } = terms;
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const waiting: Waiting<Input, Output> = {
        input,
        terms,
        schedulingDeadline,
        expiresAt,
        order: this.#order++,
        resolve,
        reject,
        cancel: () => this.#cancel(waiting),
        attempts: 0,
      };
      signal.addEventListener('abort', waiting.cancel, { once: true });
      this.#arrivals.note(this.#options.clock.now());
      this.#queue.add(waiting);
      this.#dispatch();
    });
  }

  #cancel(waiting: Waiting<Input, Output>): void {
    if (!this.#queue.delete(waiting)) this.#retries.splice(this.#retries.indexOf(waiting), 1);
    waiting.reject(waiting.terms.signal.reason);
  }

  #dispatch(): void {
    while (this.queueLength > 0) {
      const worker = this.#workers.freest();
      if (worker === undefined) return;
      const [alone] = this.#retries;
      if (alone !== undefined) {
        // Never in advance: it would be lost with the image before it, if that kills the process.
        if (worker.inFlight > 0) return;
        this.#retries.shift();
        void this.#send(worker, [alone]);
        continue;
      }
      const share = this.#share(worker);
      if (share === 0) return;
      const batch = this.#take(worker, share);
      if (batch.length > 0) void this.#send(worker, batch);
    }
  }

  /** How many waiting images this worker gets now. */
  #share(worker: Worker<Input, Output>): number {
    const { maxBatchSize } = this.#options;
    const waiting = this.#queue.size;
    if (worker.inFlight > 0) return waiting >= maxBatchSize ? maxBatchSize : 0;
    return Math.min(maxBatchSize, Math.ceil(waiting / this.#workers.idle));
  }

  /** Takes the next batch out of the queue, and rejects images that would be late. */
  #take(worker: Worker<Input, Output>, share: number): readonly Waiting<Input, Output>[] {
    const { clock, maxBatchSize } = this.#options;
    const now = clock.now();
    const finishAt = (images: number) => now + this.#workers.finishMs(worker, images);
    const least = share === maxBatchSize ? share : 1;
    const { batch, late } = formBatch(this.#queue, share, least, finishAt);
    for (const { terms, cancel, reject, expiresAt } of late) {
      terms.signal.removeEventListener('abort', cancel);
      reject(deadlineUnreachable(finishAt(least) - now, expiresAt - now));
    }
    if (worker.inFlight === 0 || batch.length === share) return batch;
    // A worker gets only full batches in advance, and the rejections left this one short.
    for (const image of batch) this.#queue.add(image);
    return [];
  }

  async #send(
    worker: Worker<Input, Output>,
    batch: readonly Waiting<Input, Output>[],
  ): Promise<void> {
    for (const { terms, cancel } of batch) terms.signal.removeEventListener('abort', cancel);
    const inputs = batch.map(({ input }) => input);
    try {
      const results = await this.#workers.run(worker, inputs);
      const done = results.find((result) => result.kind === 'done');
      if (done !== undefined) this.#options.report({ kind: 'executed', output: done.output });
      for (const [at, { resolve }] of batch.entries()) resolve(results[at] as WorkResult<Output>);
    } catch (error) {
      this.#failed(batch, error);
    }
  }

  #failed(batch: readonly Waiting<Input, Output>[], error: unknown): void {
    const loss = error instanceof ProcessLostError ? error : null;
    const [first] = batch;
    // A cancelled image is suspected too: it may come again.
    const verdict =
      batch.length === 1 && loss?.suspect === true ? (first?.terms.suspect?.(loss) ?? null) : null;
    for (const waiting of batch) {
      const { signal } = waiting.terms;
      waiting.attempts++;
      if (signal.aborted) waiting.reject(signal.reason);
      else if (verdict !== null) waiting.reject(verdict);
      else if (loss === null || waiting.attempts >= MAX_ATTEMPTS) waiting.reject(error);
      else {
        this.#options.report({ kind: 'retried' });
        signal.addEventListener('abort', waiting.cancel, { once: true });
        this.#retries.push(waiting);
      }
    }
    this.#dispatch();
  }
}
