/**
 * Which batch sizes a model may be executed in. On the CPU any size up to the largest: another
 * shape costs nothing there. On CUDA a new shape costs a search for kernels and memory that is
 * never freed, so there batches are padded to a few sizes, all of which are executed before the
 * process is ready.
 */
import { type Manifest, mayBatch } from '../../models/manifest.js';
import type { ProviderSetting } from './provider.js';

export interface BatchSizes {
  readonly largest: number;
  /**
   * Ascending, up to `largest`; batches are padded to the next of them. Null: any size is executed
   * without padding.
   */
  readonly fixed: readonly number[] | null;
}

export interface BatchSizeSettings {
  readonly maxBatchSize: number | 'auto';
  readonly executionProvider: ProviderSetting;
}

/**
 * Measured on two cores: beyond this, larger batches on a CPU cost latency and gain nothing
 * (docs/internals/performance.md).
 */
const CPU_BATCH_SIZE = 4;
const CUDA_BATCH_SIZE = 32;

/** `provider`: the one that really runs. */
export function chooseBatchSizes(
  settings: BatchSizeSettings,
  manifest: Manifest,
  provider: string,
): BatchSizes {
  if (!mayBatch(manifest, provider)) return { largest: 1, fixed: null };
  const largest = chooseLargest(settings, provider);
  return { largest, fixed: provider === 'cuda' ? powersOfTwo(largest) : null };
}

/** The executed size of a batch of so many images. */
export function paddedSize(images: number, { fixed }: BatchSizes): number {
  return fixed?.find((size) => size >= images) ?? images;
}

function chooseLargest(
  { maxBatchSize, executionProvider }: BatchSizeSettings,
  provider: string,
): number {
  if (executionProvider.kind === 'simulated') {
    const last = executionProvider.costs.at(-1)?.batchSize ?? 1;
    return maxBatchSize === 'auto' ? last : Math.min(maxBatchSize, last);
  }
  if (maxBatchSize !== 'auto') return maxBatchSize;
  return provider === 'cuda' ? CUDA_BATCH_SIZE : CPU_BATCH_SIZE;
}

/** 1, 2, 4, … and `largest`, even if it is not a power of two. */
function powersOfTwo(largest: number): readonly number[] {
  const sizes: number[] = [];
  for (let size = 1; size < largest; size *= 2) sizes.push(size);
  return [...sizes, largest];
}
