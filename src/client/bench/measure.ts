/**
 * One measurement: a load for a given time, after a warm-up under the same load that does not
 * count.
 *
 * The load goes on without a gap from the warm-up into the measurement. Calls in flight at the end
 * are awaited, which their deadline bounds; those of an aborted measurement are not.
 */
import type { Clock } from '../../clock.js';
import { type GeneratorFigures, watchGenerator } from './generator.js';
import { type Load, runLoad } from './load.js';
import { NOT_SENT, type Outcome, Tally, type TallyFigures } from './tally.js';

export interface MeasureOptions {
  readonly load: Load;
  /** Makes one call; never rejects. */
  readonly send: () => Promise<Outcome>;
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** The deadline that `send` gives its calls. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Aborted: the measurement ends at once, with the figures so far. */
  readonly signal: AbortSignal;
}

export interface Measurement extends TallyFigures {
  readonly load: Load;
  readonly generator: Omit<GeneratorFigures, 'cpuMs'> & {
    /** Of all calls that ended within the measured time; null if there were none. */
    readonly cpuMsPerCall: number | null;
  };
  /** The connection was lost for so long that the measurement was given up. */
  readonly lost: boolean;
}

/** A server that was unreachable for this long will not return during a measurement. */
const LOST_AFTER_MS = 5_000;

export async function measure(options: MeasureOptions): Promise<Measurement> {
  const { load, send, warmUpMs, durationMs, timeoutMs, clock, signal } = options;
  const from = clock.now() + warmUpMs;
  const until = from + durationMs;
  const tally = new Tally({ from, until, timeoutMs });
  const generator = watchGenerator();
  const cancelBegin = clock.after(warmUpMs, () => generator.begin());
  const cancelEnd = clock.after(warmUpMs + durationMs, () => generator.end());
  const lost = new AbortController();
  let unreachableSince: number | null = null;

  const call = async (dueAt: number): Promise<boolean> => {
    const sentAt = clock.now();
    tally.begun(dueAt);
    const outcome = sentAt - dueAt >= timeoutMs ? NOT_SENT : await send();
    const endedAt = clock.now();
    tally.ended({ dueAt, sentAt, endedAt, outcome });
    const isThere = outcome.code !== 'UNAVAILABLE' || outcome.reason !== '';
    if (isThere) unreachableSince = null;
    else unreachableSince ??= sentAt;
    if (unreachableSince !== null && endedAt - unreachableSince >= LOST_AFTER_MS) lost.abort();
    return isThere;
  };
  const stopped = AbortSignal.any([signal, lost.signal]);
  await runLoad(load, { clock, until, signal: stopped, call });
  cancelBegin();
  cancelEnd();

  const figures = tally.figures(stopped.aborted ? clock.now() : until);
  const { cpuMs, ...own } = generator.end();
  const calls = figures.callsPerSecond * figures.seconds;
  return {
    load,
    ...figures,
    generator: { ...own, cpuMsPerCall: calls === 0 ? null : cpuMs / calls },
    lost: lost.signal.aborted,
  };
}
