/**
 * How often the front collects garbage.
 *
 * V8 begins a full collection when old objects, and the memory behind buffers that has come since
 * the last one, near a limit that it sets a few megabytes above what was alive. The front has few
 * live objects (17 MB) and much traffic of images, so it was there after every forty photos, and a
 * third of its CPU time went into collections (docs/internals/performance.md). What it costs: up to
 * GROWTH_PERCENT of the live objects more memory, some 50 MB.
 */
import { setFlagsFromString } from 'node:v8';

const GROWTH_PERCENT = 300;

/**
 * For the process that receives images; children have other garbage. To be called before the heap
 * is in use.
 */
export function collectLessOften(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
