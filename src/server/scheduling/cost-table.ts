/**
 * What a batch costs: milliseconds by batch size, for one model (or for decoding), learnt from
 * batches that were executed.
 *
 * One table serves all processes of a kind: they run the same program on the same machine, so each
 * one's batches tell of the others', and a process that was just replaced needs not learn anew.
 * What differs between them is how much each has in hand, which `lane-work.ts` follows.
 *
 * The cost of a size is the mean of its last SAMPLES batches, none counted as more than twice their
 * median: so pauses and first executions hardly show, and a machine that has become slower or
 * faster shows after half as many batches. Sizes not seen lie on straight lines between those that
 * were, and no batch counts as dearer than a larger one: where two contradict each other, the newer
 * measurement is right. Beyond what was seen the figure errs towards too little, because callers
 * are refused by it. Pure logic, without a clock. What it costs: one sort of SAMPLES numbers for
 * each batch.
 */

/** Batches of one size that are remembered. */
const SAMPLES = 15;

export interface BatchCost {
  readonly batchSize: number;
  readonly milliseconds: number;
}

export class CostTable {
  readonly #fixedSizes: readonly number[] | null;
  readonly #samples = new Map<number, number[]>();
  /** By ascending batch size, rising. */
  #rows: readonly BatchCost[] = [];

  /**
   * `fixedSizes`: ascending; a batch is padded to the next of them. Null: batches are executed as
   * they are.
   */
  constructor(fixedSizes: readonly number[] | null = null) {
    this.#fixedSizes = fixedSizes;
  }

  /** The sizes that were seen, ascending. */
  get rows(): readonly BatchCost[] {
    return this.#rows;
  }

  /** Notes that a batch of so many images took so long. */
  record(images: number, tookMs: number): void {
    const batchSize = this.#executedAs(images);
    const samples = this.#samples.get(batchSize) ?? [];
    samples.push(tookMs);
    if (samples.length > SAMPLES) samples.shift();
    this.#samples.set(batchSize, samples);
    const milliseconds = clippedMean(samples);
    // Where two sizes contradict each other, the newer measurement is right.
    const others = this.#rows
      .filter((row) => row.batchSize !== batchSize)
      .map((row) => {
        const within = row.batchSize < batchSize ? Math.min : Math.max;
        return { batchSize: row.batchSize, milliseconds: within(row.milliseconds, milliseconds) };
      });
    this.#rows = [...others, { batchSize, milliseconds }].sort(
      (one, other) => one.batchSize - other.batchSize,
    );
  }

  /** Milliseconds that a batch of so many images takes; null while nothing is known. */
  of(images: number): number | null {
    const rows = this.#rows;
    const size = this.#executedAs(images);
    const at = rows.findIndex(({ batchSize }) => batchSize >= size);
    const above = rows[at];
    if (above?.batchSize === size) return above.milliseconds;
    // Smaller than any seen: a share of that one, which no batch costs less than.
    if (above !== undefined && at === 0) return (above.milliseconds * size) / above.batchSize;
    const high = above ?? rows.at(-1);
    const low = above === undefined ? rows.at(-2) : rows[at - 1];
    if (high === undefined) return null;
    if (low === undefined) return high.milliseconds;
    const slope = (high.milliseconds - low.milliseconds) / (high.batchSize - low.batchSize);
    return low.milliseconds + slope * (size - low.batchSize);
  }

  #executedAs(images: number): number {
    return this.#fixedSizes?.find((size) => size >= images) ?? images;
  }
}

function clippedMean(samples: readonly number[]): number {
  const sorted = [...samples].sort((one, other) => one - other);
  const median = sorted[(sorted.length - 1) >> 1] as number;
  return sorted.reduce((sum, sample) => sum + Math.min(sample, 2 * median), 0) / sorted.length;
}
