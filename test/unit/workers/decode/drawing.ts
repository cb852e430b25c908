/** Pixels for tests, drawn in integers so that they are the same everywhere. */

/** The same bytes as noise() in test/golden/make_golden.py. */
export function noise(count: number, seed = 1): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

/** A smooth picture, which JPEG keeps well. */
export function gradient(width: number, height: number): Uint8Array {
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      pixels[at++] = (x * 255) / width;
      pixels[at++] = (y * 255) / height;
      pixels[at++] = ((x + y) * 255) / (width + height);
    }
  }
  return pixels;
}
