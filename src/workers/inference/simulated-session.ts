/**
 * Simulates an accelerator with a given cost table: it waits as long as the table says for a batch,
 * and its answers depend on the pixels alone. On a CPU batching gains nothing; this shows dynamic
 * batching at work without a GPU. Never the default, and every reply says `simulated`.
 */
import type { Session } from './session.js';

/** One row of a cost table: how long an execution of this many images takes. */
export interface Cost {
  readonly batchSize: number;
  readonly milliseconds: number;
}

/**
 * The time for `images`: linear between the table's rows, and along the last segment beyond them.
 */
export function costOf(table: readonly Cost[], images: number): number {
  const above = table.findIndex(({ batchSize }) => batchSize >= images);
  if (above === 0 || table.length === 1) return table[0]?.milliseconds ?? 0;
  const to = above < 0 ? table.length - 1 : above;
  const high = table[to] as Cost;
  const low = table[to - 1] as Cost;
  const slope = (high.milliseconds - low.milliseconds) / (high.batchSize - low.batchSize);
  return low.milliseconds + slope * (images - low.batchSize);
}

/**
 * The best class of an image is the sum of its bytes modulo the class count, with score ½; the
 * others share the rest. So a test can tell whether an answer belongs to its image. The embedding
 * is the mean of each channel.
 */
export function createSimulatedSession(
  costs: readonly Cost[],
  pixelBytes: number,
  classCount: number,
): Session {
  const never = new Int32Array(new SharedArrayBuffer(4));
  return {
    executionProvider: 'simulated',
    classCount,
    embeddingSize: 3,
    async run(pixels, images) {
      const finish = performance.now() + costOf(costs, images);
      const scores = new Float32Array(images * classCount).fill(
        classCount === 1 ? 1 : 0.5 / (classCount - 1),
      );
      const embeddings = new Float32Array(images * 3);
      for (let image = 0; image < images; image++) {
        const sums: [number, number, number] = [0, 0, 0];
        for (let at = image * pixelBytes; at < (image + 1) * pixelBytes; at += 3) {
          sums[0] += pixels[at] as number;
          sums[1] += pixels[at + 1] as number;
          sums[2] += pixels[at + 2] as number;
        }
        if (classCount > 1)
          scores[image * classCount + ((sums[0] + sums[1] + sums[2]) % classCount)] = 0.5;
        embeddings.set(
          sums.map((sum) => sum / (pixelBytes / 3)),
          image * 3,
        );
      }
      // An accelerator works while its process sleeps, so this waits without using the processor.
      const left = finish - performance.now();
      if (left > 0) Atomics.wait(never, 0, 0, left);
      return { scores, embeddings };
    },
  };
}
