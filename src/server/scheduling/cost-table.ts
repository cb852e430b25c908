/**
 * What a batch costs: milliseconds by batch size, for one model or for decoding, learnt from
 * executed batches.
 *
 * All processes of a kind share one table: they run the same program on the same machine, so a new
 * process has nothing to learn. How much each of them has in hand differs (`WorkerLoad` in
 * `workers.ts`).
 *
 * The cost of a size is the mean of its last SAMPLES batches, each capped at twice their median: so
 * pauses and first executions hardly count, and a change of speed shows after half as many batches.
 * Sizes in between are interpolated. No batch costs more than a larger one: where two sizes
 * contradict each other, the newer measurement wins. Beyond the measured sizes the figure errs on
 * the low side, because calls are rejected by it. Pure logic, without a clock. What it costs: one
 * sort of SAMPLES numbers for each batch.
 */

/** Remembered batches of one size. */
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
   * `fixedSizes`: ascending; a batch is padded to the next of them. Null: batches are not padded.
   */
  constructor(fixedSizes: readonly number[] | null = null) {
    this.#fixedSizes = fixedSizes;
  }

  /** The measured sizes, ascending. */
  get rows(): readonly BatchCost[] {
    return this.#rows;
  }

  /** Records that a batch of `images` took `tookMs`. */
  record(images: number, tookMs: number): void {
    const batchSize = this.#executedAs(images);
    const samples = this.#samples.get(batchSize) ?? [];
    samples.push(tookMs);
    if (samples.length > SAMPLES) samples.shift();
    this.#samples.set(batchSize, samples);
    const milliseconds = clippedMean(samples);
    // Where two sizes contradict each other, the newer measurement wins.
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

  /** Milliseconds that a batch of `images` takes; null: nothing is known yet. */
  of(images: number): number | null {
    const rows = this.#rows;
    const size = this.#executedAs(images);
    const at = rows.findIndex(({ batchSize }) => batchSize >= size);
    const above = rows[at];
    if (above?.batchSize === size) return above.milliseconds;
    // Smaller than any measured: its share of the smallest, which is a lower bound.
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
