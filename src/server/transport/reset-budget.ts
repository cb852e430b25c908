/**
 * How many calls of one connection may be reset.
 *
 * Every reset that arrives takes a token of a bucket in nghttp2; with none left the whole
 * connection is ended, and with it the calls of everybody else who shares it through a proxy. That
 * is the protection against floods of resets (CVE-2023-44487), and stays. But a gateway that
 * multiplexes many callers passes on each deadline that passes and each caller that leaves, so the
 * limit is raised where Node.js lets it be, from 22.10 on; and it is counted along here, so that a
 * connection that has used most of its tokens can be ended in order before.
 *
 * What can't be seen here is a reset that crosses with the end of its call. So the refill is taken
 * for slower than it is, and every call that was answered before it had been sent in full counts as
 * reset.
 */
import type { Clock } from '../../clock.js';

export interface ResetLimits {
  readonly burst: number;
  readonly perSecond: number;
}

/** nghttp2's own, which Node.js 20 has no option for. */
const FIXED: ResetLimits = { burst: 1_000, perSecond: 33 };
const RAISED: ResetLimits = { burst: 4_000, perSecond: 200 };
/** What is left of the burst when a connection has to go. */
const RESERVE_SHARE = 0.4;
const COUNTED_REFILL_SHARE = 0.75;

/**
 * `nodeVersion` as in `process.versions.node`; of the 22nd only versions are supported that have
 * the options.
 */
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

  /** A call was reset. Returns whether the rest is a reserve. */
  spend(): boolean {
    const { burst, perSecond } = this.#limits;
    const now = this.#clock.now();
    const refill = ((now - this.#countedAt) / 1_000) * perSecond * COUNTED_REFILL_SHARE;
    this.#tokens = Math.min(burst, this.#tokens + refill) - 1;
    this.#countedAt = now;
    return this.#tokens < burst * RESERVE_SHARE;
  }
}
