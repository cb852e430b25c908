import sharp from 'sharp';

/**
 * A picture of smooth colour with noise on it, as a JPEG file: about as hard to decode as a photo
 * of its size. Models are tried with it before the server is ready.
 */
export async function drawJpeg(width: number, height: number): Promise<Buffer> {
  const pixels = new Uint8Array(width * height * 3);
  let noise = 1;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      // A linear congruential generator (Numerical Recipes' constants): the same picture
      // everywhere.
      noise = (Math.imul(noise, 1664525) + 1013904223) | 0;
      const grain = (noise >>> 27) & 31;
      pixels[at++] = (x * 224) / width + grain;
      pixels[at++] = (y * 224) / height + grain;
      pixels[at++] = 96 + 96 * Math.sin((x + y) / 40) + grain;
    }
  }
  return await sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer();
}
