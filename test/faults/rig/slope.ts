/**
 * Whether a series grows: the slope of Theil and Sen, which is the median of the slopes between all
 * pairs of points, with Sen's interval of confidence (J. Am. Stat. Assoc. 63, 1968, p. 1379). Up to
 * 29 % of the points may be anything, so a full collection or a replaced process does not matter,
 * and a leak does.
 */

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Slope {
  /** y per x. */
  readonly slope: number;
  /** The ends of its 95 % confidence interval. */
  readonly low: number;
  readonly high: number;
}

const NORMAL_QUANTILE = 1.96;
/** At most so many points are compared with each other; of more, medians of neighbours are. */
const MOST_POINTS = 400;

/** null for fewer than four points. */
export function robustSlope(all: readonly Point[]): Slope | null {
  const points =
    all.length > MOST_POINTS ? mediansOf(all, Math.ceil(all.length / MOST_POINTS)) : all;
  const count = points.length;
  if (count < 4) return null;
  const slopes: number[] = [];
  points.forEach((to, at) => {
    for (const from of points.slice(0, at))
      if (to.x !== from.x) slopes.push((to.y - from.y) / (to.x - from.x));
  });
  slopes.sort((a, b) => a - b);
  const half = (NORMAL_QUANTILE * Math.sqrt((count * (count - 1) * (2 * count + 5)) / 18)) / 2;
  const at = (rank: number) =>
    slopes[Math.min(Math.max(Math.round(rank), 0), slopes.length - 1)] ?? 0;
  const middle = (slopes.length - 1) / 2;
  return { slope: median(slopes), low: at(middle - half), high: at(middle + half) };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (
    ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2
  );
}

function mediansOf(points: readonly Point[], size: number): Point[] {
  return Array.from({ length: Math.ceil(points.length / size) }, (_, group) => {
    const part = points.slice(group * size, (group + 1) * size);
    return { x: median(part.map(({ x }) => x)), y: median(part.map(({ y }) => y)) };
  });
}
