/**
 * Measurements on a clock of their own, which jumps from timer to timer: hours of load in a moment.
 */
import { type Measurement, type MeasureOptions, measure } from '#vitserve/client/bench/measure.js';
import type { Outcome } from '#vitserve/client/bench/tally.js';
import type { Clock } from '#vitserve/clock.js';

export const OK: Outcome = {
  code: 'OK',
  reason: '',
  message: '',
  timing: { decodeMs: 1, queueMs: 0, inferenceMs: 2, batchSize: 1 },
};

export interface Stand {
  readonly clock: Clock;
  /** Resolves that much later on the clock. */
  later(milliseconds: number): Promise<void>;
  /**
   * The clock jumps forward, and timers that were due meanwhile fire late: as in a program that was
   * held up.
   */
  jump(milliseconds: number): void;
}

/** No measurement of a test lasts longer than this on its clock. */
const LONGEST_MS = 120_000;

/** Runs a measurement to its end. */
export async function measured(
  options: Partial<Omit<MeasureOptions, 'clock' | 'send'>> & Pick<MeasureOptions, 'load'>,
  sendOn: (stand: Stand) => MeasureOptions['send'],
): Promise<Measurement> {
  let now = 0;
  const timers = new Set<{ readonly dueAt: number; readonly callback: () => void }>();
  const clock: Clock = {
    now: () => now,
    after(delayMs, callback) {
      const timer = { dueAt: now + delayMs, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const stand: Stand = {
    clock,
    later: (milliseconds) => new Promise((resolve) => clock.after(milliseconds, resolve)),
    jump: (milliseconds) => {
      now += milliseconds;
    },
  };
  let finished = false;
  const run = measure({
    warmUpMs: 0,
    durationMs: 10_000,
    timeoutMs: 5_000,
    signal: new AbortController().signal,
    ...options,
    clock,
    send: sendOn(stand),
  }).finally(() => {
    finished = true;
  });
  for (;;) {
    // Runs everything that the last timer has started.
    await new Promise((resolve) => setImmediate(resolve));
    if (finished) return await run;
    let next: { dueAt: number; callback: () => void } | undefined;
    for (const timer of timers) if (next === undefined || timer.dueAt < next.dueAt) next = timer;
    if (next === undefined || next.dueAt > LONGEST_MS)
      throw new Error('the measurement does not end');
    timers.delete(next);
    now = Math.max(now, next.dueAt);
    next.callback();
  }
}
