/**
 * Holds rejections back where callers call again at once, so that rejecting can't eat the machine:
 * a caller who waits for one calls no more meanwhile.
 *
 * The rule. A call that comes when all callers of its connection have stayed away as long as they
 * were told to is rejected at once. Otherwise it depends on whether the connection ignores its
 * pushbacks. It does when IGNORED times as many of its callers should be away as were ever open on
 * it at a time, and until no more should be away than that. One call after the other over a
 * connection shows it soon; a thousand callers behind a proxy don't. All connections that ignore
 * them share so many rejections a second (`IGNORING`); all others share a number in proportion to
 * the images that are answered (`USUAL`). What a connection takes above its equal share is held
 * until the share allows it, but never longer than a limit, nor than half of the time to the call's
 * deadline.
 *
 * The time held counts as part of the pushback, so that a good caller is back no later than it
 * would have been. While there are more rejections than can be afforded, the pushback is at least
 * the time in which the share allows one more. Held calls have no permit and nothing of them is
 * read; there are MOST_HELD of them at most, and so many of one connection that others find a place
 * on it. Whoever finds none is rejected at once. Pure logic; a connection is any object. Costs some
 * arithmetic a rejection, and a timer a held one.
 */
import type { Clock } from '../../clock.js';
import type { Report } from '../telemetry/events.js';
import { RejectionBudget } from './rejection-budget.js';

interface Class {
  readonly budget: RejectionBudget;
  readonly aSecond: (imagesPerSecond: number) => number;
  readonly longestHoldMs: number;
}

/** Fifty are some 2 % of a core. */
const IGNORING = { aSecond: () => 50, longestHoldMs: 2_000 };
/** At three times the load there are two for each image that is answered. */
const USUAL = {
  aSecond: (imagesPerSecond: number) => Math.max(50, 3 * imagesPerSecond),
  longestHoldMs: 250,
};
/**
 * How many times as many callers of a connection as were seen at a time may be told to stay away.
 */
const IGNORED = 3;
/** Of a connection's share, that it may take at once. */
const BURST = 2;
/** A held call may hold STREAM_WINDOW_BYTES of its image. */
export const MOST_HELD = 1_024;
/** A quarter of the calls that a connection may have. */
export const MOST_HELD_OF_A_CONNECTION = 250;
const [SHORTEST_PUSHBACK_MS, LONGEST_PUSHBACK_MS] = [10, 5_000];

export interface Verdict {
  /** How long to hold the rejection; 0: send it now. */
  readonly holdMs: number;
  /** When the caller should come back, counted from when it is told. */
  readonly retryAfterMs: number;
}

interface Connection {
  /** Calls that are open, and the most that were. */
  open: number;
  mostOpen: number;
  /** Callers that were told to stay away and should still be: fades with the pushback. */
  away: number;
  ignores: boolean;
  /** When the last of them was told to come back. */
  returnAt: number;
  /** Rejections of its share; less than none: taken in advance. */
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

  /** A call has come over the connection. Returns what says that it has ended. */
  callBegan(on: object): () => void {
    const connection = this.#connectionOf(on);
    connection.open++;
    connection.mostOpen = Math.max(connection.mostOpen, connection.open);
    return () => {
      connection.open--;
    };
  }

  /**
   * For a call that is going to be rejected, and whose caller would be told to come back after
   * `retryAfterMs`; `leftMs`: to its deadline. Counts it, whether it is held or not.
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
    // What anybody may have costs nothing of the share.
    const left = tokens < 1 && isAffordable ? tokens : tokens - 1;
    connection.tokens = Math.max(left, (-share * longestHoldMs) / 1000);
    budget.spend();

    const leastMs = isAffordable ? SHORTEST_PUSHBACK_MS : 1000 / share;
    const told = Math.ceil(Math.min(Math.max(retryAfterMs - holdMs, leastMs), LONGEST_PUSHBACK_MS));
    connection.returnAt = Math.max(connection.returnAt, now + holdMs + told);
    connection.away = connection.away * Math.exp(-elapsedMs / (connection.returnAt - now)) + 1;
    return { holdMs, retryAfterMs: told };
  }

  /**
   * Calls `send` after `holdMs`, or at once where as many are held as may be. Returns what takes
   * the call away when it ends before that.
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
    const leave = () => {
      if (!this.#held.delete(release)) return;
      cancelTimer();
      connection.held--;
    };
    const release = () => {
      leave();
      send();
    };
    const cancelTimer = this.#clock.after(holdMs, release);
    this.#held.add(release);
    connection.held++;
    this.#report({ kind: 'rejection-held' });
    return leave;
  }

  /** Sends everything that is held. */
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
