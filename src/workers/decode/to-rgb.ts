/**
 * The two conversions to 8-bit RGB in which Pillow and libvips differ, done Pillow's way.
 *
 * Source of the arithmetic: Pillow src/libImaging/Convert.c (`cmyk2rgb`, 16-bit grey to RGB) and
 * ImagingUtils.h (`MULDIV255`). Scalar loops: these pictures are rare, and cost about 3 ns a pixel.
 */

/**
 * CMYK as ink amounts (0 no ink, 255 full) to RGB: what is left of white after black, then after
 * each ink. Ignores ICC profiles.
 *
 * @param cmyk width × height × 4 bytes
 * @returns width × height × 3 bytes
 */
export function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4) {
    const light = 255 - (cmyk[from + 3] as number);
    for (let ink = 0; ink < 3; ink++) {
      const product = (cmyk[from + ink] as number) * light + 128;
      // Division by 255, rounded; never above `light`, so the difference needs no clipping.
      rgb[to++] = light - (((product >> 8) + product) >> 8);
    }
  }
  return rgb;
}

/**
 * 16-bit grey to RGB. Pillow doesn't scale: a value above 255 becomes 255, so an ordinary 16-bit
 * grey picture turns nearly white. A model that was evaluated with Pillow has seen that.
 *
 * @param grey width × height values
 * @returns width × height × 3 bytes
 */
export function grey16ToRgb(grey: Uint16Array): Uint8Array {
  const rgb = new Uint8Array(grey.length * 3);
  for (let from = 0, to = 0; from < grey.length; from++, to += 3) {
    const value = Math.min(grey[from] as number, 255);
    // One by one: `fill` takes ten times as long for three bytes.
    rgb[to] = value;
    rgb[to + 1] = value;
    rgb[to + 2] = value;
  }
  return rgb;
}
