/** Candidates of the benchmark `decode`: asked for one by name, answers its CPU-ms a photo. */
import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { presetRecipe } from '#vitserve/models/sources/recipe-presets.js';
import { createPixelDecoder } from '#vitserve/workers/decode/prepare-pixels.js';
import { answerQuestions, specOf } from '../lib/children.js';
import { jpegsIn } from '../lib/pictures.js';

export interface DecodersSpec {
  readonly folder: string;
  readonly side: number;
  /** vitserve's decoder sets sharp up in its own way, so each has its own process. */
  readonly kind: 'vitserve' | 'sharp';
}

type Candidate = (photo: Buffer) => Promise<unknown>;

const { folder, side, kind } = specOf<DecodersSpec>();
const target = new Uint8Array(side * side * 3);

/** What a decoder process does. */
function vitserve(jpegDecoder: 'auto' | 'sharp', interpolation: 'bilinear' | 'bicubic'): Candidate {
  const decoder = createPixelDecoder({ maxImagePixels: 5e7, jpegDecoder });
  if (decoder.jpegFallback !== null) throw new Error(decoder.jpegFallback.why);
  const recipe = { ...presetRecipe('hf-vit', { height: side, width: side }), interpolation };
  const preparer = decoder.preparerFor({ recipe, height: side, width: side });
  return (photo) => preparer.prepare(photo, target);
}

const candidates: Readonly<Record<string, Candidate>> =
  kind === 'vitserve'
    ? {
        'vitserve, bilinear': vitserve('auto', 'bilinear'),
        'vitserve, bicubic': vitserve('auto', 'bicubic'),
        'vitserve with sharp, bilinear': vitserve('sharp', 'bilinear'),
      }
    : {
        'sharp, its own pipeline': (photo) =>
          sharp(photo).resize(side, side, { fit: 'fill' }).raw().toBuffer(),
      };

const photos = jpegsIn(folder).map((path) => readFileSync(path));
await answerQuestions(Object.keys(candidates), async (name: string) => {
  const candidate = candidates[name] as Candidate;
  const before = process.cpuUsage();
  for (const photo of photos) await candidate(photo);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / photos.length;
});
