/**
 * Accounts for every request: each ends in exactly one of the fates below, and one without a fate
 * by the end was lost. Sums are kept from both sides, so a request that is forgotten, or answered
 * twice, shows.
 *
 * Costs two histograms a window and one small object for each request in flight.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type DurationSummary, Durations } from '#vitserve/client/bench/durations.js';

/**
 * `right`: this image's answer from before the faults, to the last bit; for a bad image the same
 * rejection. `wrong`: any other answer, including a good image that was rejected as bad. `refused`:
 * the server would not take it, for a reason that says so. `cancelled`: by us, before it was
 * answered. `expired`: our own deadline passed. `failed`: everything else.
 */
export type Fate =
  | { readonly kind: 'right' | 'cancelled' | 'expired' }
  | { readonly kind: 'wrong' | 'refused' | 'failed'; readonly what: string };

/** The server's reasons for a request that it does not admit, and our own for a missing server. */
export const NO_CONNECTION = 'NO_CONNECTION';
const REFUSALS = ['OVERLOADED', 'DEADLINE_UNREACHABLE', 'STARTING', 'DRAINING'];

/** An error as any of the clients throws it. */
export interface Failure {
  readonly code: string;
  readonly reason: string | null;
  readonly message: string;
}

/** The expected outcome of a request: the text of an answer, or that of a rejection. */
export function rejectionText({ code, reason }: Pick<Failure, 'code' | 'reason'>): string {
  return `${code} ${reason ?? ''}`.trimEnd();
}

export interface Circumstances {
  /** As it was before the faults began. */
  readonly expected: string;
  readonly cancelled?: boolean;
  readonly hasDeadline?: boolean;
}

/** `outcome`: the text of the answer, or the failure. */
export function fateOf(
  outcome: string | Failure,
  { expected, cancelled, hasDeadline }: Circumstances,
): Fate {
  const text = typeof outcome === 'string' ? outcome : rejectionText(outcome);
  if (text === expected) return { kind: 'right' };
  if (typeof outcome === 'string')
    return { kind: 'wrong', what: `${brief(outcome)} instead of ${brief(expected)}` };
  const { code, reason, message } = outcome;
  if (reason !== null && REFUSALS.includes(reason)) return { kind: 'refused', what: reason };
  if (code === 'CANCELLED' && cancelled === true) return { kind: 'cancelled' };
  if (code === 'DEADLINE_EXCEEDED' && hasDeadline === true && reason !== 'UPLOAD_TIMEOUT')
    return { kind: 'expired' };
  if (code === 'INVALID_ARGUMENT')
    return { kind: 'wrong', what: `${text} instead of ${brief(expected)}` };
  if (code === 'UNAVAILABLE' && /ECONNREFUSED|No connection established/.test(message)) {
    return { kind: 'refused', what: NO_CONNECTION };
  }
  return {
    kind: 'failed',
    what: reason === null || reason === '' ? `${code} (${message.slice(0, 120)})` : text,
  };
}

function brief(text: string): string {
  return text.length <= 100 ? text : `${text.slice(0, 100)}…`;
}

export interface Figures {
  readonly sent: number;
  readonly right: number;
  readonly wrong: number;
  readonly cancelled: number;
  readonly expired: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly failed: Readonly<Record<string, number>>;
  /** From when a request was due to its right answer. */
  readonly rightMs: DurationSummary | null;
  /** From when it was sent to its refusal. */
  readonly refusedMs: DurationSummary | null;
}

export interface Totals extends Figures {
  /** Requests without an outcome. */
  readonly lost: number;
  /** Surplus outcomes: a second answer to a request. */
  readonly surplus: number;
  /** The first few wrong answers, in words. */
  readonly wrongs: readonly string[];
  readonly byActor: Readonly<Record<string, ActorFigures>>;
}

export interface ActorFigures {
  readonly sent: number;
  readonly right: number;
  readonly refused: number;
  readonly failed: number;
}

export interface Entry {
  ended(fate: Fate): void;
}

const WRONGS_TOLD = 5;
const LOOK_MS = 20;

export class Ledger {
  #all = new Account();
  #window = new Account();
  readonly #wrongs: string[] = [];
  readonly #byActor = new Map<
    string,
    { sent: number; right: number; refused: number; failed: number }
  >();
  #open = 0;
  #surplus = 0;

  /**
   * Call it when the request is sent. `dueAt`: when it should have been, on `performance.now`'s
   * clock.
   */
  sent(actor: string, dueAt?: number): Entry {
    const sentAt = performance.now();
    const entry = this.#byActor.get(actor) ?? { sent: 0, right: 0, refused: 0, failed: 0 };
    this.#byActor.set(actor, entry);
    entry.sent++;
    this.#open++;
    for (const account of [this.#all, this.#window]) account.sent++;
    let isOpen = true;
    return {
      ended: (fate) => {
        if (!isOpen) {
          this.#surplus++;
          return;
        }
        isOpen = false;
        this.#open--;
        if (fate.kind === 'right' || fate.kind === 'refused' || fate.kind === 'failed')
          entry[fate.kind]++;
        if (fate.kind === 'wrong' && this.#wrongs.length < WRONGS_TOLD)
          this.#wrongs.push(`${actor}: ${fate.what}`);
        const now = performance.now();
        for (const account of [this.#all, this.#window])
          account.ended(fate, now - (dueAt ?? sentAt), now - sentAt);
      },
    };
  }

  /** An answer to no request. */
  unasked(): void {
    this.#surplus++;
  }

  get open(): number {
    return this.#open;
  }

  /** What ended since the last cut. Each window counts what was sent in it and what ended in it. */
  cut(): Figures {
    const figures = this.#window.figures();
    this.#window = new Account();
    return figures;
  }

  totals(): Totals {
    return {
      ...this.#all.figures(),
      lost: this.#open,
      surplus: this.#surplus,
      wrongs: this.#wrongs,
      byActor: Object.fromEntries(this.#byActor),
    };
  }

  /** Resolves when every request has its outcome, or when that takes too long. */
  async settled(patienceMs: number): Promise<void> {
    const until = performance.now() + patienceMs;
    while (this.#open > 0 && performance.now() < until) await delay(LOOK_MS);
  }
}

class Account {
  sent = 0;
  readonly #counts = { right: 0, wrong: 0, cancelled: 0, expired: 0 };
  readonly #refused: Record<string, number> = {};
  readonly #failed: Record<string, number> = {};
  readonly #rightMs = new Durations();
  readonly #refusedMs = new Durations();

  ended(fate: Fate, sinceDueMs: number, sinceSentMs: number): void {
    if (fate.kind === 'refused') {
      this.#refused[fate.what] = (this.#refused[fate.what] ?? 0) + 1;
      this.#refusedMs.record(sinceSentMs);
    } else if (fate.kind === 'failed') {
      this.#failed[fate.what] = (this.#failed[fate.what] ?? 0) + 1;
    } else {
      this.#counts[fate.kind]++;
      if (fate.kind === 'right') this.#rightMs.record(sinceDueMs);
    }
  }

  figures(): Figures {
    return {
      sent: this.sent,
      ...this.#counts,
      refused: { ...this.#refused },
      failed: { ...this.#failed },
      rightMs: this.#rightMs.summary(),
      refusedMs: this.#refusedMs.summary(),
    };
  }
}

export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
