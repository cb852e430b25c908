/**
 * Two ways in which calls follow each other, on an injected clock.
 *
 * Closed: a number of callers, each with one call at a time. A slow server gets fewer calls, as
 * from a batch program that waits. Open: calls are due at times that do not depend on the server,
 * as from a crowd. A call that can't be sent when it is due is sent later and still counts from
 * then, so a stall shows in every call that it delayed, and not only in those in flight
 * ("coordinated omission", Gil Tene).
 */
import type { Clock } from '../../clock.js';
import { poissonArrivals, seededRandom } from './arrivals.js';

export type Load =
  | { readonly kind: 'closed'; readonly callers: number }
  | { readonly kind: 'open'; readonly ratePerSecond: number; readonly seed: number };

export interface LoadRun {
  readonly clock: Clock;
  /** From then on no call is due. */
  readonly until: number;
  /** Aborted: no more calls are made, and calls in flight are not awaited. */
  readonly signal: AbortSignal;
  /**
   * Makes the call that was due at this time; never rejects. Resolves to whether the server could
   * be reached.
   */
  readonly call: (dueAt: number) => Promise<boolean>;
}

/** Most calls of an open loop in flight; each holds its image. More wait in the generator. */
export const MOST_IN_FLIGHT = 2000;
/**
 * A caller of a closed loop that can't reach the server tries again after this time, so that it
 * does not spin.
 */
const PAUSE_MS = 100;

/** Resolves when every call has ended, or with the signal. */
export async function runLoad(load: Load, run: LoadRun): Promise<void> {
  const { signal } = run;
  if (signal.aborted) return;
  const aborted = new Promise<void>((resolve) =>
    signal.addEventListener('abort', () => resolve(), { once: true }),
  );
  await Promise.race([
    aborted,
    load.kind === 'closed' ? closedLoop(load.callers, run) : openLoop(load, run),
  ]);
}

async function closedLoop(callers: number, { clock, until, signal, call }: LoadRun): Promise<void> {
  const caller = async () => {
    for (let now = clock.now(); now < until && !signal.aborted; now = clock.now()) {
      if (!(await call(now))) await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve));
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
}

function openLoop(
  load: Extract<Load, { kind: 'open' }>,
  { clock, until, signal, call }: LoadRun,
): Promise<void> {
  const nextArrival = poissonArrivals(load.ratePerSecond, seededRandom(load.seed));
  const startedAt = clock.now();
  return new Promise((resolve) => {
    let dueAt = startedAt + nextArrival();
    let inFlight = 0;
    let cancelTimer = () => {};
    const sendDue = () => {
      cancelTimer();
      while (!signal.aborted && dueAt < until) {
        const wait = dueAt - clock.now();
        if (wait > 0) {
          cancelTimer = clock.after(wait, sendDue);
          return;
        }
        if (inFlight >= MOST_IN_FLIGHT) return;
        inFlight++;
        void call(dueAt).then(ended);
        dueAt = startedAt + nextArrival();
      }
      if (inFlight === 0) resolve();
    };
    const ended = () => {
      // Only a call that frees a place, or the last one, has something to start; otherwise the
      // timer is set.
      if (inFlight-- === MOST_IN_FLIGHT || (inFlight === 0 && dueAt >= until)) sendDue();
    };
    sendDue();
  });
}
