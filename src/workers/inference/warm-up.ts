/**
 * The first executions of a process, before it is ready: they do what is slow the first time
 * (kernels, allocators, on CUDA the search for the fastest convolution of each shape) and measure
 * the cost of a batch.
 *
 * Each size is executed at least twice, the largest first, so that memory that never shrinks is
 * allocated in one piece; then all of them again until each was executed ENOUGH times or ENOUGH_MS
 * are over. So a fast model is measured well, and a slow one is ready soon. Without padding, the
 * costs of all sizes lie on a line between one image and the largest batch, so these two stand for
 * all.
 */
import type { Clock } from '../../clock.js';
import type { BatchSizes } from './batch-sizes.js';
import type { Session } from './session.js';
import type { Cost } from './simulated-session.js';

const LEAST = 2;
const ENOUGH = 8;
const ENOUGH_MS = 1_000;

/**
 * `pixels`: memory for the largest batch, with any content. Resolves with every measurement except
 * the first of each size.
 */
export async function warmUp(
  session: Pick<Session, 'run'>,
  pixels: Uint8Array,
  { largest, fixed }: BatchSizes,
  clock: Pick<Clock, 'now'>,
): Promise<Cost[]> {
  const sizes = [...new Set(fixed ?? [1, largest])].sort((one, other) => other - one);
  const costs: Cost[] = [];
  const startedAt = clock.now();
  for (
    let round = 0;
    round < ENOUGH && (round < LEAST || clock.now() - startedAt < ENOUGH_MS);
    round++
  ) {
    for (const batchSize of sizes) {
      const beganAt = clock.now();
      await session.run(pixels, batchSize);
      if (round > 0) costs.push({ batchSize, milliseconds: clock.now() - beganAt });
    }
  }
  return costs;
}
