import type { Prediction } from './messages.js';

/**
 * The `k` best classes of one row of scores, best first; equal scores in the order of their class
 * index. One pass with insertion into the k kept so far: k is small, and no row is copied or sorted
 * whole.
 */
export function topK(scores: Float32Array, k: number): Prediction[] {
  const best: { classIndex: number; score: number }[] = [];
  if (k <= 0) return best;
  for (let classIndex = 0; classIndex < scores.length; classIndex++) {
    const score = scores[classIndex] as number;
    const worst = best[best.length - 1];
    if (best.length === k && worst !== undefined && score <= worst.score) continue;
    let at = best.length;
    while (at > 0 && (best[at - 1] as Prediction).score < score) at--;
    best.splice(at, 0, { classIndex, score });
    if (best.length > k) best.pop();
  }
  return best;
}
