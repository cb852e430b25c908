/**
 * How many calls of one connection may be reset.
 *
 * Every reset that arrives takes a token from a bucket in nghttp2. With none left nghttp2 ends the
 * whole connection, and with it the calls of all clients that share it through a proxy. That
 * protects against floods of resets (CVE-2023-44487), and stays. But a gateway that multiplexes
 * many callers passes on every passed deadline and every cancellation. So the limit is raised where
 * Node.js has options for it, from 22.10 on; and this file counts along, so that a connection that
 * has used most of its tokens can be ended in order before that.
 *
 * It cannot see a reset that crosses with the end of its call. So it assumes a slower refill, and
 * counts every call that was answered before its body was complete as reset.
 */
import type { Clock } from '../../clock.js';

export interface ResetLimits {
  readonly burst: number;
  readonly perSecond: number;
}

/** Those of nghttp2; Node.js 20 has no option for them. */
const FIXED: ResetLimits = { burst: 1_000, perSecond: 33 };
const RAISED: ResetLimits = { burst: 4_000, perSecond: 200 };
/** The share of the burst that is left when a connection is ended. */
const RESERVE_SHARE = 0.4;
const COUNTED_REFILL_SHARE = 0.75;

/** `nodeVersion`: `process.versions.node`. All supported versions of Node 22 have the options. */
export function resetLimitsOf(nodeVersion: string): ResetLimits {
  return Number.parseInt(nodeVersion, 10) >= 22 ? RAISED : FIXED;
}

export class ResetBudget {
  readonly #limits: ResetLimits;
  readonly #clock: Clock;
  #tokens: number;
  #countedAt: number;

  constructor(limits: ResetLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#tokens = limits.burst;
    this.#countedAt = clock.now();
  }

  /** A call was reset. Returns whether only the reserve is left. */
  spend(): boolean {
    const { burst, perSecond } = this.#limits;
    const now = this.#clock.now();
    const refill = ((now - this.#countedAt) / 1_000) * perSecond * COUNTED_REFILL_SHARE;
    this.#tokens = Math.min(burst, this.#tokens + refill) - 1;
    this.#countedAt = now;
    return this.#tokens < burst * RESERVE_SHARE;
  }
}
