/**
 * Pixels without a file, the same in every language: whole numbers through a multiplicative hash.
 */
export function drawnPixels(images: number, height: number, width: number): Uint8Array {
  return Uint8Array.from(
    { length: images * height * width * 3 },
    (_, index) => ((index * 2654435761) >>> 13) & 255,
  );
}
