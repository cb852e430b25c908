/**
 * Dynamic batching: images wait in one queue and leave in batches as processes become free.
 *
 * Work-conserving: a free process is never left idle while an image waits, so a lone image is not delayed for company.
 * Batches grow only because, and only while, every process is busy. Beside the batch that it executes a process is given
 * one more in advance, but only a full one, since an early small batch would be a smaller batch for nothing; where
 * batches have one image (decoders) that is the next image. Waiting images are shared out evenly between free processes.
 *
 * What holds: every image added is settled exactly once; one that has left (abort signal) is taken out of the queue at
 * once and never put into a batch; no batch is larger than `maxBatchSize`; order is first come, first served. A batch that
 * is lost with its process is executed again image by image, each by a process that does nothing else when it is given
 * the image, up to MAX_ATTEMPTS times in all: so one image that kills its process does not fail the others.
 * Pure logic: it knows lanes and promises, no processes and no clock. The place of a cost table is `#share`: how many of
 * the waiting images a free lane should get.
 */
import type { BatchLane } from './lane.js';

/** Times an image may be given to a process before its loss is the caller's to know. */
export const MAX_ATTEMPTS = 3;

/** One executing and one in advance. */
const MAX_IN_FLIGHT = 2;

export interface DispatchObserver {
  /** Images in the queue, after every change. */
  queueLength(length: number): void;
  /** An image goes back to the queue because its process was lost. */
  retried(): void;
}

interface Waiting<Image, Result> {
  readonly image: Image;
  readonly signal: AbortSignal;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  readonly leave: () => void;
  attempts: number;
}

export interface DispatcherOptions<Image, Result, Call, Reply> {
  readonly lanes: readonly BatchLane<Call, Reply>[];
  readonly maxBatchSize: number;
  readonly toCall: (images: readonly Image[]) => Call;
  /** One result for each image of the batch, in its order. */
  readonly toResults: (reply: Reply, images: readonly Image[]) => readonly Result[];
  /** Whether an execution failed because the process was lost (and not because of what it was given). */
  readonly isLoss: (error: unknown) => boolean;
  readonly observer: DispatchObserver;
}

export class Dispatcher<Image, Result, Call, Reply> {
  readonly #options: DispatcherOptions<Image, Result, Call, Reply>;
  readonly #lanes: readonly BatchLane<Call, Reply>[];
  /** Images that lost a process; they go first, each alone. */
  readonly #retries: Waiting<Image, Result>[] = [];
  #queue: Waiting<Image, Result>[] = [];

  constructor(options: DispatcherOptions<Image, Result, Call, Reply>) {
    this.#options = options;
    this.#lanes = options.lanes;
    for (const lane of this.#lanes) lane.onChange = () => this.#dispatch();
  }

  get queueLength(): number {
    return this.#queue.length + this.#retries.length;
  }

  /** Rejects with the signal's reason when the image leaves before it is given to a process. */
  add(image: Image, signal: AbortSignal): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const waiting: Waiting<Image, Result> = {
        image,
        signal,
        resolve,
        reject,
        leave: () => this.#leave(waiting),
        attempts: 0,
      };
      signal.addEventListener('abort', waiting.leave, { once: true });
      this.#queue.push(waiting);
      this.#dispatch();
    });
  }

  #leave(waiting: Waiting<Image, Result>): void {
    for (const line of [this.#queue, this.#retries]) {
      const at = line.indexOf(waiting);
      if (at < 0) continue;
      line.splice(at, 1);
      this.#options.observer.queueLength(this.queueLength);
      waiting.reject(waiting.signal.reason);
    }
  }

  #dispatch(): void {
    while (this.queueLength > 0) {
      const lane = this.#freestLane();
      if (lane === undefined) break;
      const [alone] = this.#retries;
      if (alone !== undefined) {
        // Never in advance: behind an image that kills its process it would be lost along with that one each time.
        if (lane.inFlight > 0) break;
        this.#retries.shift();
        this.#send(lane, [alone]);
        continue;
      }
      const share = this.#share(lane);
      if (share === 0) break;
      const batch = this.#queue.slice(0, share);
      this.#queue = this.#queue.slice(share);
      this.#send(lane, batch);
    }
    this.#options.observer.queueLength(this.queueLength);
  }

  #freestLane(): BatchLane<Call, Reply> | undefined {
    let freest: BatchLane<Call, Reply> | undefined;
    for (const lane of this.#lanes) {
      if (!lane.ready || lane.inFlight >= MAX_IN_FLIGHT) continue;
      if (freest === undefined || lane.inFlight < freest.inFlight) freest = lane;
    }
    return freest;
  }

  /** How many of the waiting images this lane gets now. */
  #share(lane: BatchLane<Call, Reply>): number {
    const { maxBatchSize } = this.#options;
    const waiting = this.#queue.length;
    if (lane.inFlight > 0) return waiting >= maxBatchSize ? maxBatchSize : 0;
    const free = this.#lanes.filter((other) => other.ready && other.inFlight === 0).length;
    return Math.min(maxBatchSize, Math.ceil(waiting / free));
  }

  #send(lane: BatchLane<Call, Reply>, batch: readonly Waiting<Image, Result>[]): void {
    const { toCall, toResults } = this.#options;
    for (const { signal, leave } of batch) signal.removeEventListener('abort', leave);
    const images = batch.map(({ image }) => image);
    lane
      .call(toCall(images))
      .then((reply) => toResults(reply, images))
      .then(
        (results) => {
          for (const [index, waiting] of batch.entries()) waiting.resolve(results[index] as Result);
        },
        (error: unknown) => this.#failed(batch, error),
      );
  }

  #failed(batch: readonly Waiting<Image, Result>[], error: unknown): void {
    const isLoss = this.#options.isLoss(error);
    for (const waiting of batch) {
      waiting.attempts++;
      if (waiting.signal.aborted) waiting.reject(waiting.signal.reason);
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
