/**
 * Any number of durations in 250 KB: Node's HDR histogram, in milliseconds.
 *
 * Three significant figures from a microsecond to an hour; shorter and longer durations count as
 * these. So a percentile is within 0.1 % of the exact one, and a long run needs no more memory than
 * a short one.
 */
import { createHistogram } from 'node:perf_hooks';

/** Milliseconds. */
export interface DurationSummary {
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

const LONGEST_MICROSECONDS = 3_600_000_000;

export class Durations {
  readonly #microseconds = createHistogram({
    lowest: 1,
    highest: LONGEST_MICROSECONDS,
    figures: 3,
  });

  record(milliseconds: number): void {
    this.#microseconds.record(
      Math.min(Math.max(Math.round(milliseconds * 1000), 1), LONGEST_MICROSECONDS),
    );
  }

  /** null if nothing was recorded. */
  summary(): DurationSummary | null {
    const recorded = this.#microseconds;
    if (recorded.count === 0) return null;
    const percentile = (percent: number) => recorded.percentile(percent) / 1000;
    return {
      mean: recorded.mean / 1000,
      p50: percentile(50),
      p90: percentile(90),
      p99: percentile(99),
      p999: percentile(99.9),
      max: recorded.max / 1000,
    };
  }
}
