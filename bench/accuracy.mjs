// Top-1 accuracy of model folders on labelled images, through the same decoding and the same
// sessions as the server.
//   node bench/accuracy.mjs IMAGES MODEL_FOLDER…
// IMAGES has one folder a class, named as its label: cat/0001.jpg. Images are executed one by one.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPixelPreparer } from '../dist/workers/decode/prepare-pixels.js';
import { loadOnnxSession } from '../dist/workers/inference/onnx-session.js';

const [images, ...folders] = process.argv.slice(2);
if (images === undefined || folders.length === 0) {
  console.error('node bench/accuracy.mjs IMAGES MODEL_FOLDER…');
  process.exit(2);
}

for (const folder of folders) {
  const manifest = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8'));
  const { height, width } = manifest.input;
  const preparer = createPixelPreparer({
    maxImagePixels: 50_000_000,
    recipe: manifest.preprocessing,
    height,
    width,
  });
  const graphPath = join(folder, manifest.graph.file);
  const { session } = await loadOnnxSession({ graphPath, manifest, provider: 'cpu', threads: 1 });
  const pixels = new Uint8Array(height * width * 3);
  let [right, total, runMs] = [0, 0, 0];
  for (const label of readdirSync(images)) {
    const truth = manifest.labels.indexOf(label);
    if (truth < 0) throw new Error(`${label} is no label of ${folder}`);
    for (const file of readdirSync(join(images, label))) {
      await preparer.prepare(readFileSync(join(images, label, file)), pixels);
      const startedAt = performance.now();
      const { scores } = await session.run(pixels, 1);
      runMs += performance.now() - startedAt;
      if (scores.indexOf(Math.max(...scores)) === truth) right++;
      total++;
    }
  }
  const percent = ((right / total) * 100).toFixed(2);
  console.log(
    `${folder}: ${percent} % (${right} of ${total}), ${(runMs / total).toFixed(3)} ms an execution`,
  );
}
