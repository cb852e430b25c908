/**
 * A worker without a process: the test decides when it answers, fails, is lost or comes back.
 */
import assert from 'node:assert/strict';
import { ProcessLostError, type Worker, type WorkResult } from '#vitserve/workers/worker.js';

interface Pending<Input, Output> {
  readonly batch: readonly Input[];
  readonly resolve: (results: readonly WorkResult<Output>[]) => void;
  readonly reject: (error: unknown) => void;
}

export class FakeWorker<Input, Output> implements Worker<Input, Output> {
  /** Every batch that it ever got, in order. */
  readonly sent: (readonly Input[])[] = [];
  #pending: Pending<Input, Output>[] = [];
  #ready: boolean;
  #changed: () => void = () => {};
  /**
   * What the worker does by itself with a batch, soon after it gets that; nothing unless a test
   * sets it.
   */
  onRun: (pending: readonly (readonly Input[])[]) => void = () => {};

  constructor({ ready = true }: { readonly ready?: boolean } = {}) {
    this.#ready = ready;
  }

  get ready(): boolean {
    return this.#ready;
  }

  get inFlight(): number {
    return this.#pending.length;
  }

  /** Batches that are not answered, oldest first. */
  get pending(): readonly (readonly Input[])[] {
    return this.#pending.map(({ batch }) => batch);
  }

  onChange(listener: () => void): void {
    this.#changed = listener;
  }

  run(batch: readonly Input[]): Promise<readonly WorkResult<Output>[]> {
    assert.ok(this.#ready, 'a worker that is not ready was given a batch');
    this.sent.push(batch);
    return new Promise((resolve, reject) => {
      this.#pending.push({ batch, resolve, reject });
      queueMicrotask(() => this.onRun(this.pending));
    });
  }

  /** Answers the oldest batch with these outputs. */
  answer(...outputs: readonly Output[]): void {
    this.reply(...outputs.map((output) => ({ kind: 'done', output }) as const));
  }

  /** Answers the oldest batch with these results. */
  reply(...results: readonly WorkResult<Output>[]): void {
    this.#shift().resolve(results);
    this.#changed();
  }

  /** Fails the oldest batch without losing the process. */
  fail(error: unknown): void {
    this.#shift().reject(error);
    this.#changed();
  }

  /**
   * The process dies with all its batches: by a kill from outside, or because of the batch that it
   * works on.
   */
  lose({
    selfInflicted = false,
    usedUp = false,
  }: {
    readonly selfInflicted?: boolean;
    readonly usedUp?: boolean;
  } = {}): void {
    this.#ready = false;
    for (const [place, { reject }] of this.#pending.splice(0).entries()) {
      const suspect = selfInflicted && place === 0;
      reject(new ProcessLostError('the process was lost', { suspect, usedUp: suspect && usedUp }));
    }
    this.#changed();
  }

  /** It takes batches. Without `tell` the dispatcher sees it only at the next change elsewhere. */
  recover({ tell = true }: { readonly tell?: boolean } = {}): void {
    this.#ready = true;
    if (tell) this.#changed();
  }

  #shift(): Pending<Input, Output> {
    const oldest = this.#pending.shift();
    assert.ok(oldest, 'the worker has no batch to settle');
    return oldest;
  }
}

/** Lets every promise settle that can, with what follows from it. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

/** Whether a promise has settled, and how. */
export function watch<T>(promise: Promise<T>): { readonly state: Outcome<T> } {
  const watched: { state: Outcome<T> } = { state: { kind: 'open' } };
  promise.then(
    (value) => {
      watched.state = { kind: 'resolved', value };
    },
    (error: unknown) => {
      watched.state = { kind: 'rejected', error };
    },
  );
  return watched;
}

export type Outcome<T> =
  | { readonly kind: 'open' }
  | { readonly kind: 'resolved'; readonly value: T }
  | { readonly kind: 'rejected'; readonly error: unknown };
