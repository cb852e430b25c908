/**
 * From logits to scores, if the graph does not do it: softmax and sigmoid, in place, row by row.
 */

/**
 * `scores`: `[rows, classes]`. Softmax subtracts the row's maximum first, so large logits don't
 * overflow.
 */
export function activate(
  scores: Float32Array,
  rows: number,
  classes: number,
  activation: 'softmax' | 'sigmoid' | 'none',
): void {
  if (activation === 'none') return;
  for (let row = 0; row < rows; row++) {
    const values = scores.subarray(row * classes, (row + 1) * classes);
    if (activation === 'sigmoid') {
      for (let index = 0; index < classes; index++)
        values[index] = 1 / (1 + Math.exp(-(values[index] as number)));
      continue;
    }
    let largest = Number.NEGATIVE_INFINITY;
    for (const value of values) largest = Math.max(largest, value);
    let sum = 0;
    const exponentials = Array.from(values, (value) => Math.exp(value - largest));
    for (const value of exponentials) sum += value;
    for (let index = 0; index < classes; index++)
      values[index] = (exponentials[index] as number) / sum;
  }
}
