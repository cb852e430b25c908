/**
 * The next state of George Marsaglia's xorshift32 ("Xorshift RNGs", 2003): any signed 32-bit
 * integer but 0, from any but 0.
 */
export function xorshift32(state: number): number {
  let next = state;
  next ^= next << 13;
  next ^= next >>> 17;
  return next ^ (next << 5);
}
