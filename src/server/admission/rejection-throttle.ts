/**
 * Holds rejections back where callers retry at once, so that rejecting calls cannot use up the
 * machine: a caller that waits for its rejection sends no further call.
 *
 * The rule: a call is rejected at once if all callers of its connection have waited as long as
 * their pushback said. Otherwise it depends on whether the connection ignores pushbacks. It does
 * from when IGNORED times as many of its callers should be waiting as it ever had open calls, until
 * no more should be waiting than that. One call after the other over a connection shows it soon; a
 * thousand callers behind a proxy do not. All connections that ignore pushbacks share a fixed
 * number of rejections a second (`IGNORING`); all others share a number in proportion to the
 * answered images (`USUAL`). What a connection takes above its equal share is held until the share
 * allows it, but no longer than a limit, nor than half of the time to the deadline of the call.
 *
 * The held time counts as part of the pushback, so that a good caller is back no later than without
 * it. While there are too many rejections, the pushback is at least the time in which the share
 * allows one more. Held calls have no permit, and none of their body is read. At most MOST_HELD are
 * held, and at most MOST_HELD_OF_A_CONNECTION of one connection; further ones are rejected at once.
 * Pure logic; a connection is any object. What it costs: some arithmetic for each rejection, and a
 * timer for each held one.
 */
import type { Clock } from '../../clock.js';
import type { Report } from '../telemetry/events.js';
import { RejectionBudget } from './rejection-budget.js';

interface Class {
  readonly budget: RejectionBudget;
  readonly aSecond: (imagesPerSecond: number) => number;
  readonly longestHoldMs: number;
}

/** Fifty rejections a second take some 2 % of a core. */
const IGNORING = { aSecond: () => 50, longestHoldMs: 2_000 };
/** At three times the load two calls are rejected for each answered image. */
const USUAL = {
  aSecond: (imagesPerSecond: number) => Math.max(50, 3 * imagesPerSecond),
  longestHoldMs: 250,
};
/** Callers that should be waiting, as a multiple of the open calls that a connection ever had. */
const IGNORED = 3;
/** Rejections of its share that a connection may take at once. */
const BURST = 2;
/** A held call may hold STREAM_WINDOW_BYTES of its image. */
export const MOST_HELD = 1_024;
/** A quarter of the calls that a connection may have. */
export const MOST_HELD_OF_A_CONNECTION = 250;
const [SHORTEST_PUSHBACK_MS, LONGEST_PUSHBACK_MS] = [10, 5_000];

export interface Verdict {
  /** How long to hold the rejection; 0: send it now. */
  readonly holdMs: number;
  /** When the caller should retry, counted from the rejection. */
  readonly retryAfterMs: number;
}

interface Connection {
  /** Open calls, now and at most. */
  open: number;
  mostOpen: number;
  /** Callers that should still be waiting; decays with the pushback. */
  away: number;
  ignores: boolean;
  /** When the last of them should retry. */
  returnAt: number;
  /** Rejections of its share; negative: taken in advance. */
  tokens: number;
  at: number;
  held: number;
}

export class RejectionThrottle {
  readonly #clock: Clock;
  readonly #imagesPerSecond: () => number;
  readonly #report: Report;
  readonly #ignoring: Class = { ...IGNORING, budget: new RejectionBudget() };
  readonly #usual: Class = { ...USUAL, budget: new RejectionBudget() };
  readonly #connections = new WeakMap<object, Connection>();
  readonly #held = new Set<() => void>();

  constructor(options: {
    readonly clock: Clock;
    readonly imagesPerSecond: () => number;
    readonly report: Report;
  }) {
    this.#clock = options.clock;
    this.#imagesPerSecond = options.imagesPerSecond;
    this.#report = options.report;
  }

  get held(): number {
    return this.#held.size;
  }

  /** A call has begun on the connection. Call the returned function when it ends. */
  callBegan(on: object): () => void {
    const connection = this.#connectionOf(on);
    connection.open++;
    connection.mostOpen = Math.max(connection.mostOpen, connection.open);
    return () => {
      connection.open--;
    };
  }

  /**
   * Judges and counts a call that is to be rejected with a pushback of `retryAfterMs`; `leftMs` is
   * the time to its deadline.
   */
  judge(on: object, retryAfterMs: number, leftMs: number): Verdict {
    const now = this.#clock.now();
    const connection = this.#connectionOf(on);
    if (now >= connection.returnAt) Object.assign(connection, { away: 0, tokens: BURST, at: now });
    if (connection.away <= connection.mostOpen) connection.ignores = false;
    else if (connection.away > IGNORED * connection.mostOpen) connection.ignores = true;
    const { ignores } = connection;
    const { budget, aSecond, longestHoldMs } = ignores ? this.#ignoring : this.#usual;
    const share = budget.shareOf(connection, aSecond(this.#imagesPerSecond()), now);
    const elapsedMs = now - connection.at;
    const tokens = Math.min(BURST, connection.tokens + (elapsedMs / 1000) * share);
    connection.at = now;

    const isAffordable = !ignores && budget.hasOne;
    const isHeld = tokens < 1 && !isAffordable;
    const holdMs = isHeld
      ? Math.min(((1 - tokens) / share) * 1000, longestHoldMs, Math.max(0, leftMs / 2))
      : 0;
    // A rejection from the common budget costs nothing of the share.
    const left = tokens < 1 && isAffordable ? tokens : tokens - 1;
    connection.tokens = Math.max(left, (-share * longestHoldMs) / 1000);
    budget.spend();

    const shortestMs = isAffordable ? SHORTEST_PUSHBACK_MS : 1000 / share;
    const pushbackMs = Math.ceil(
      Math.min(Math.max(retryAfterMs - holdMs, shortestMs), LONGEST_PUSHBACK_MS),
    );
    connection.returnAt = Math.max(connection.returnAt, now + holdMs + pushbackMs);
    connection.away = connection.away * Math.exp(-elapsedMs / (connection.returnAt - now)) + 1;
    return { holdMs, retryAfterMs: pushbackMs };
  }

  /**
   * Calls `send` after `holdMs`, or at once where too many are held. Returns a function that
   * cancels this, for a call that ends before.
   */
  hold(on: object, holdMs: number, send: () => void): () => void {
    const connection = this.#connectionOf(on);
    if (
      holdMs <= 0 ||
      this.#held.size >= MOST_HELD ||
      connection.held >= MOST_HELD_OF_A_CONNECTION
    ) {
      send();
      return () => {};
    }
    const cancel = () => {
      if (!this.#held.delete(release)) return;
      cancelTimer();
      connection.held--;
    };
    const release = () => {
      cancel();
      send();
    };
    const cancelTimer = this.#clock.after(holdMs, release);
    this.#held.add(release);
    connection.held++;
    this.#report({ kind: 'rejection-held' });
    return cancel;
  }

  /** Sends all held rejections. */
  releaseAll(): void {
    for (const release of [...this.#held]) release();
  }

  #connectionOf(on: object): Connection {
    const known = this.#connections.get(on);
    if (known !== undefined) return known;
    const connection = {
      open: 0,
      mostOpen: 1,
      away: 0,
      ignores: false,
      returnAt: 0,
      tokens: BURST,
      at: 0,
      held: 0,
    };
    this.#connections.set(on, connection);
    return connection;
  }
}
