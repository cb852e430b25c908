/** A model in this process: through the same decoding and the same session as the server's. */
import { readFile } from 'node:fs/promises';
import { pixelBytesOf } from '../../models/manifest.js';
import { loadModelFolder, type Model } from '../../models/repository.js';
import { availableCores } from '../../system/cores.js';
import { createPixelPreparer } from '../../workers/decode/prepare-pixels.js';
import { loadOnnxSession } from '../../workers/inference/onnx-session.js';

const MAX_IMAGE_PIXELS = 50_000_000;

export interface EvaluatedModel extends Pick<Model, 'name' | 'version' | 'manifest'> {
  readonly executionProvider: string;
  /** Pixels of an image file by the model's recipe. Rejects where it can't be decoded. */
  pixelsOf(path: string): Promise<Uint8Array>;
  /** A probability of each class, of one image in a batch of its own. */
  scoresOf(pixels: Uint8Array): Promise<Float32Array>;
}

/** Throws SetupError where the folder has no model that can be executed. */
export async function openEvaluatedModel(folder: string): Promise<EvaluatedModel> {
  const { name, version, manifest, graphPath } = await loadModelFolder(folder);
  const threads = availableCores();
  const { session } = await loadOnnxSession({ graphPath, manifest, provider: 'auto', threads });
  const { height, width } = manifest.input;
  const recipe = manifest.preprocessing;
  const preparer = createPixelPreparer({ maxImagePixels: MAX_IMAGE_PIXELS, recipe, height, width });
  return {
    name,
    version,
    manifest,
    executionProvider: session.executionProvider,
    async pixelsOf(path) {
      const pixels = new Uint8Array(pixelBytesOf(manifest));
      await preparer.prepare(await readFile(path), pixels);
      return pixels;
    },
    scoresOf: async (pixels) => (await session.run(pixels, 1)).scores,
  };
}
