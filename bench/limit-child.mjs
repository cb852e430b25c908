// A bare loop in a process of its own, for bench/limits.mjs: no server, no sockets, no slots; files
// and pixels in memory.
//   node bench/limit-child.mjs '{"modelFolder": …, "photosFolder": …, "threads": 1}'
// Asked {"loop": "infer" | "decode" | "both", "batch": 1, "seconds": 4} it answers {"images",
// "seconds", "cpuMs"}.
import { readFileSync } from 'node:fs';
import { loadModelFolder } from '../dist/models/repository.js';
import { createPixelPreparer } from '../dist/workers/decode/prepare-pixels.js';
import { openSession, Tensor } from '../dist/workers/inference/onnxruntime.js';
import { topK } from '../dist/workers/inference/top-k.js';
import { answerQuestions } from './children.mjs';
import { jpegsIn } from './pictures.mjs';

const { modelFolder, photosFolder, threads } = JSON.parse(process.argv[2]);
const { manifest, graphPath } = await loadModelFolder(modelFolder);
const { input, output, preprocessing: recipe } = manifest;
const { height, width } = input;
const photos = jpegsIn(photosFolder).map((path) => readFileSync(path));
const preparer = createPixelPreparer({ maxImagePixels: 5e7, recipe, height, width });
const session = await openSession(graphPath, { threads });
const size = height * width * 3;
const pixels = new Uint8Array(size);
await preparer.prepare(photos[0], pixels);
let next = 0;

/** One turn of each loop; `batch` images. */
const LOOPS = {
  async decode(batch) {
    for (let image = 0; image < batch; image++)
      await preparer.prepare(photos[next++ % photos.length], pixels);
  },
  async infer(_batch, feed) {
    await session.run({ [input.name]: feed }, [output.name]);
  },
  async both(batch, feed) {
    for (let image = 0; image < batch; image++) {
      await preparer.prepare(photos[next++ % photos.length], pixels);
      feed.data.set(pixels, image * size);
    }
    const { data } = (await session.run({ [input.name]: feed }, [output.name]))[output.name];
    const classes = data.length / batch;
    for (let image = 0; image < batch; image++)
      topK(data.subarray(image * classes, (image + 1) * classes), 5);
  },
};

await answerQuestions('ready', async ({ loop, batch, seconds }) => {
  const data = new Uint8Array(batch * size);
  for (let image = 0; image < batch; image++) data.set(pixels, image * size);
  const feed = new Tensor('uint8', data, [batch, height, width, 3]);
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  let images = 0;
  let elapsed = 0;
  while (elapsed < seconds) {
    await LOOPS[loop](batch, feed);
    images += batch;
    elapsed = (performance.now() - startedAt) / 1000;
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return { images, seconds: elapsed, cpuMs: (user + system) / 1000 };
});
process.exit(0);
