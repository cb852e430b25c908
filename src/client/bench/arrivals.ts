/**
 * When the calls of an open loop are due: a Poisson process, as many independent callers make it.
 * Calls come in clusters and with gaps, so the server queues as it will in production; evenly
 * spaced calls would flatter it. The same seed gives the same calls on every machine.
 */

/**
 * Uniform numbers in [0, 1): a Weyl sequence through an integer hash (`lowbias32` of Chris Wellons'
 * hash-prospector).
 */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}

/**
 * Each call returns the next arrival, in milliseconds from the start; gaps are exponential with
 * mean 1 / rate.
 */
export function poissonArrivals(ratePerSecond: number, random: () => number): () => number {
  let at = 0;
  return () => {
    at += (-Math.log(1 - random()) / ratePerSecond) * 1000;
    return at;
  };
}
