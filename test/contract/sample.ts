/**
 * The picture that the README classifies: a ship at sea, drawn in whole numbers so that it is the
 * same everywhere. `node dist-test/contract/sample.js docs/images/ship.png` writes it anew.
 */
import { writeFileSync } from 'node:fs';
import sharp from 'sharp';

export const SAMPLE_WIDTH = 320;
export const SAMPLE_HEIGHT = 240;

type Colour = readonly [red: number, green: number, blue: number];

const HORIZON = 150;

/** 8-bit RGB, row by row from the top. */
export function drawSample(): Uint8Array {
  const pixels = new Uint8Array(SAMPLE_WIDTH * SAMPLE_HEIGHT * 3);
  for (let y = 0; y < SAMPLE_HEIGHT; y++) {
    for (let x = 0; x < SAMPLE_WIDTH; x++) pixels.set(colourAt(x, y), (y * SAMPLE_WIDTH + x) * 3);
  }
  return pixels;
}

export function encodeSample(): Promise<Buffer> {
  const raw = { width: SAMPLE_WIDTH, height: SAMPLE_HEIGHT, channels: 3 } as const;
  return sharp(drawSample(), { raw }).png({ compressionLevel: 9 }).toBuffer();
}

function colourAt(x: number, y: number): Colour {
  const within = (left: number, right: number, top: number, bottom: number) =>
    x >= left && x < right && y >= top && y < bottom;
  // The hull narrows towards the keel, more at the bow (right) than at the stern.
  const below = y - 140;
  const inHull = below >= 0 && y < 185 && x >= 40 + (below >> 2) && x < 285 - below;
  if (inHull) return y < 146 ? [240, 240, 240] : y < 172 ? [38, 44, 66] : [150, 40, 36];
  if (within(70, 200, 112, 140)) return y % 14 < 5 && x % 13 < 7 ? [70, 90, 110] : [236, 236, 232];
  if (within(90, 160, 90, 112)) return [226, 228, 228];
  if (within(112, 138, 58, 90)) return y < 66 ? [30, 30, 34] : [196, 60, 44];
  if (within(216, 220, 70, 140)) return [96, 84, 70];
  if (y >= HORIZON) {
    const wave = (x + 3 * y) % 29 < 9 && y % 11 < 3 ? 26 : 0;
    return [24 + wave, 78 - ((y - HORIZON) >> 2) + wave, 128 - ((y - HORIZON) >> 2) + wave];
  }
  return [150 + (y >> 1), 190 + (y >> 2), 226];
}

if (process.argv[1] === import.meta.filename && process.argv[2] !== undefined) {
  writeFileSync(process.argv[2], await encodeSample());
}
