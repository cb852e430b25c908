/**
 * Time as the pipeline sees it: monotonic milliseconds that every process of one machine agrees on.
 *
 * `process.hrtime` reads CLOCK_MONOTONIC, whose origin is the machine's boot and not the process's,
 * so a deadline written by the front can be compared in a child. (`performance.now` has an origin
 * of its own in each process.) Logic that depends on time takes a `Clock`, so that tests can drive
 * it by hand.
 */
export interface Clock {
  /** Monotonic milliseconds, with fractions. */
  now(): number;
  /**
   * Calls back once after `delayMs`. Returns its cancellation. The timer does not keep the process
   * alive.
   */
  after(delayMs: number, callback: () => void): () => void;
}

/** setTimeout's largest delay; longer ones would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Number(process.hrtime.bigint()) / 1e6,
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(delayMs, 0), LONGEST_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
