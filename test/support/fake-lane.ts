/**
 * A process for the dispatcher without a process: the test says when it answers, fails, is lost or
 * comes back.
 */
import assert from 'node:assert/strict';
import type { BatchLane } from '#vitserve/server/scheduling/lane.js';
import { ProcessLostError } from '#vitserve/workers/process/lane.js';

interface Pending<Call, Reply> {
  readonly call: Call;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

export class FakeLane<Call, Reply> implements BatchLane<Call, Reply> {
  /** Every call that was ever sent, in order. */
  readonly sent: Call[] = [];
  #pending: Pending<Call, Reply>[] = [];
  #ready: boolean;
  onChange: () => void = () => {};
  /**
   * What the lane does by itself with what it is given, soon after; nothing unless a test sets it.
   */
  onCall: (pending: readonly Call[]) => void = () => {};

  constructor({ ready = true }: { readonly ready?: boolean } = {}) {
    this.#ready = ready;
  }

  get ready(): boolean {
    return this.#ready;
  }

  get inFlight(): number {
    return this.#pending.length;
  }

  /** Calls that are not answered, oldest first. */
  get pending(): readonly Call[] {
    return this.#pending.map(({ call }) => call);
  }

  call(call: Call): Promise<Reply> {
    assert.ok(this.#ready, 'a lane that is not ready was called');
    this.sent.push(call);
    return new Promise((resolve, reject) => {
      this.#pending.push({ call, resolve, reject });
      queueMicrotask(() => this.onCall(this.pending));
    });
  }

  /** Answers the oldest call. */
  answer(reply: Reply): void {
    this.#shift().resolve(reply);
    this.onChange();
  }

  /** Fails the oldest call through no loss of the process. */
  fail(error: unknown): void {
    this.#shift().reject(error);
    this.onChange();
  }

  /**
   * The process dies with all that it was given: by a kill from outside, or by what it was working
   * on.
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
    this.onChange();
  }

  /** It takes calls. Without `tell` the dispatcher sees it only at the next change elsewhere. */
  recover({ tell = true }: { readonly tell?: boolean } = {}): void {
    this.#ready = true;
    if (tell) this.onChange();
  }

  #shift(): Pending<Call, Reply> {
    const oldest = this.#pending.shift();
    assert.ok(oldest, 'the lane has no call to settle');
    return oldest;
  }
}

/** Lets every promise that can settle now settle, with what hangs on it. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

/** Whether a promise has settled and how, for tests that ask before it has. */
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
