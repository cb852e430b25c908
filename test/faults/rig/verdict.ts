/**
 * What a run must have shown. A verdict is a list of reasons why it fails; an empty one means that
 * it passes.
 */
import { sumOf } from './ledger.js';
import type { Sample } from './observer.js';
import type { Evidence } from './run.js';
import { median, robustSlope, type Slope } from './slope.js';

export interface Limits {
  /** Reasons for which requests may be refused. */
  readonly refusals: readonly string[];
  /**
   * MiB by which the process tree may grow in the second half, at the low end of the slope's
   * interval.
   */
  readonly memoryGrowthMib: number;
  /** How many more descriptors the front may have open at the end than in the middle. */
  readonly descriptorGrowth: number;
  /** Milliseconds; absent: no limit. */
  readonly rightP99Ms?: number;
  readonly refusedP99Ms?: number;
  readonly healthP99Ms?: number;
  readonly metricsP99Ms?: number;
  /** Of the front's event loop: the median over samples of each one's p99. */
  readonly loopP99Ms?: number;
  /** p99 of the right answers over their p50. */
  readonly spread?: number;
}

/** Allowed growth in MiB an hour; a run of an hour judges half an hour. */
const GROWTH_PER_HOUR_MIB = 1;
/** Below this a slope shows V8's variation rather than a leak; less so over hours. */
const LEAST_GROWTH_MIB = { minutes: 16, hours: 4 };
const LEAST_DESCRIPTORS = 8;
/** A young process grows until it has seen everything a few times. */
const YOUNG_MS = 4 * 60_000;
const YOUNG: Pick<Limits, 'memoryGrowthMib' | 'descriptorGrowth'> = {
  memoryGrowthMib: 64,
  descriptorGrowth: 64,
};

/** How much more a server may hold after a run of this length. */
export function growthAllowed(
  durationMs: number,
): Pick<Limits, 'memoryGrowthMib' | 'descriptorGrowth'> {
  if (durationMs < YOUNG_MS) return YOUNG;
  const hours = durationMs / 3_600_000;
  const least = LEAST_GROWTH_MIB[hours < 1 ? 'minutes' : 'hours'];
  return {
    memoryGrowthMib: Math.max(least, (GROWTH_PER_HOUR_MIB * hours) / 2),
    descriptorGrowth: LEAST_DESCRIPTORS,
  };
}

export function reasonsToFail(evidence: Evidence, limits: Limits): string[] {
  const { totals, health, metrics, samples } = evidence;
  const reasons: string[] = [];
  const failed = sumOf(totals.failed);
  const refusedWrongly = Object.entries(totals.refused).filter(
    ([reason]) => !limits.refusals.includes(reason),
  );
  const accounted =
    totals.right +
    totals.wrong +
    totals.cancelled +
    totals.expired +
    totals.lost +
    failed +
    sumOf(totals.refused);

  if (totals.right === 0) reasons.push('nothing was answered right');
  if (totals.wrong > 0) reasons.push(`${totals.wrong} answers were wrong (${totals.wrongs[0]})`);
  if (totals.lost > 0) reasons.push(`${totals.lost} requests were lost`);
  if (failed > 0) reasons.push(`${failed} requests failed (${countsText(totals.failed)})`);
  if (refusedWrongly.length > 0) {
    reasons.push(
      `requests were refused that should not be (${countsText(Object.fromEntries(refusedWrongly))})`,
    );
  }
  if (totals.surplus > 0) reasons.push(`${totals.surplus} answers came without a request`);
  if (accounted !== totals.sent)
    reasons.push(`${totals.sent} requests were sent, ${accounted} are accounted for`);

  const memory = memorySlope(samples);
  if (memory !== null && memory.grownMib.low > limits.memoryGrowthMib) {
    reasons.push(`memory grows: by ${memory.grownMib.slope.toFixed(1)} MiB in the second half`);
  }
  const descriptors = descriptorGrowth(samples);
  if (descriptors !== null && descriptors > limits.descriptorGrowth) {
    reasons.push(`descriptors grow: ${descriptors} more than in the middle are open at the end`);
  }
  const slow = (what: string, figure: number | undefined, limit: number | undefined) => {
    if (limit !== undefined && figure !== undefined && figure > limit) {
      reasons.push(`${what}: ${figure.toFixed(1)} ms, more than ${limit}`);
    }
  };
  slow('p99 of right answers', totals.rightMs?.p99, limits.rightP99Ms);
  slow('p99 of refusals', totals.refusedMs?.p99, limits.refusedP99Ms);
  slow('p99 of Health Check', health.tookMs?.p99, limits.healthP99Ms);
  slow('p99 of /metrics', metrics.tookMs?.p99, limits.metricsP99Ms);
  slow('p99 of event-loop delay', loopDelay(samples)?.p99, limits.loopP99Ms);
  const spread = totals.rightMs === null ? 0 : totals.rightMs.p99 / totals.rightMs.p50;
  if (limits.spread !== undefined && spread > limits.spread) {
    reasons.push(
      `p99 of right answers is ${spread.toFixed(1)} times their p50, more than ${limits.spread}`,
    );
  }
  return reasons;
}

export interface MemorySlope {
  readonly mibPerHour: Slope;
  /** The same over the judged time. */
  readonly grownMib: Slope;
}

/**
 * Of the process tree, or the front alone, in the second half of the run. null if there are too few
 * samples.
 */
export function memorySlope(
  samples: readonly Sample[],
  of: 'memoryMib' | 'frontMib' = 'memoryMib',
): MemorySlope | null {
  const half = samples.slice(Math.ceil(samples.length / 2)).flatMap((sample) => {
    const mebibytes = sample[of];
    return mebibytes === null ? [] : [{ x: sample.at / 3_600_000, y: mebibytes }];
  });
  const mibPerHour = robustSlope(half);
  if (mibPerHour === null) return null;
  const hours = (half.at(-1)?.x ?? 0) - (half[0]?.x ?? 0);
  const { slope, low, high } = mibPerHour;
  return { mibPerHour, grownMib: { slope: slope * hours, low: low * hours, high: high * hours } };
}

/** The median of the last quarter minus that of the second. */
export function descriptorGrowth(samples: readonly Sample[]): number | null {
  const open = samples.flatMap(({ frontDescriptors }) =>
    frontDescriptors === null ? [] : [frontDescriptors],
  );
  if (open.length < 8) return null;
  const quarter = open.length / 4;
  return (
    median(open.slice(Math.floor(3 * quarter))) -
    median(open.slice(Math.floor(quarter), Math.floor(2 * quarter)))
  );
}

export function loopDelay(
  samples: readonly Sample[],
): { readonly p99: number; readonly worstP99: number; readonly max: number } | null {
  // The first one covers the time before.
  const seen = samples
    .slice(1)
    .flatMap(({ server }) => (server === null ? [] : [server.loopDelayMs]));
  if (seen.length === 0) return null;
  return {
    p99: median(seen.map(({ p99 }) => p99)),
    worstP99: Math.max(...seen.map(({ p99 }) => p99)),
    max: Math.max(...seen.map(({ max }) => max)),
  };
}

export function countsText(counts: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return sorted.length === 0 ? '0' : sorted.map(([name, count]) => `${count} ${name}`).join(', ');
}
