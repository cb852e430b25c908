/** Figures of many measurements, and tables of them. */

/** The smallest value that this share of the values does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The median of each field. */
export function medians<Key extends string>(
  records: readonly Readonly<Record<Key, number>>[],
): Record<Key, number> {
  const keys = Object.keys(records[0] ?? {}) as Key[];
  const entries = keys.map((key) => [key, median(records.map((record) => record[key]))]);
  return Object.fromEntries(entries) as Record<Key, number>;
}

/** A Markdown table that is printed row by row. */
export class Table {
  constructor(...columns: string[]) {
    this.row(...columns);
    this.row(...columns.map(() => '---'));
  }

  row(...cells: (string | number)[]): void {
    console.log(`| ${cells.join(' | ')} |`);
  }
}

/** `front 0.96, decoders 1.71, …` */
export function listed(figures: Readonly<Record<string, number>>, digits = 2): string {
  return Object.entries(figures)
    .map(([what, value]) => `${what} ${value.toFixed(digits)}`)
    .join(', ');
}
