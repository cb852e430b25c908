/** Models in this process, through the same decoding and the same sessions as the server. */
import { readFileSync } from 'node:fs';
import type { Manifest } from '#vitserve/models/manifest.js';
import { pixelBytesOf } from '#vitserve/models/manifest.js';
import { loadModelFolder } from '#vitserve/models/repository.js';
import { createPixelPreparer } from '#vitserve/workers/decode/prepare-pixels.js';
import { loadOnnxSession } from '#vitserve/workers/inference/onnx-session.js';
import type { Session } from '#vitserve/workers/inference/session.js';

export interface OpenModel {
  readonly manifest: Manifest;
  readonly graphPath: string;
  /** One thread. */
  readonly session: Session;
  /** A JPEG file as this model takes it. */
  readonly pixelsOf: (path: string) => Promise<Uint8Array>;
}

export async function openModel(
  folder: string,
  provider: 'cpu' | 'cuda' = 'cpu',
): Promise<OpenModel> {
  const { manifest, graphPath } = await loadModelFolder(folder);
  const { session } = await loadOnnxSession({ graphPath, manifest, provider, threads: 1 });
  const { height, width } = manifest.input;
  const recipe = manifest.preprocessing;
  const preparer = createPixelPreparer({ maxImagePixels: 5e7, recipe, height, width });
  return {
    manifest,
    graphPath,
    session,
    async pixelsOf(path) {
      const pixels = new Uint8Array(pixelBytesOf(manifest));
      await preparer.prepare(readFileSync(path), pixels);
      return pixels;
    },
  };
}
