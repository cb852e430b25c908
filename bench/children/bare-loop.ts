/**
 * A bare loop for the benchmark `limits`: no server, no sockets, no slots; files and pixels in
 * memory.
 */
import { readFileSync } from 'node:fs';
import { loadModelFolder } from '#vitserve/models/repository.js';
import { createPixelPreparer } from '#vitserve/workers/decode/prepare-pixels.js';
import { openSession, Tensor } from '#vitserve/workers/inference/onnxruntime.js';
import { topK } from '#vitserve/workers/inference/top-k.js';
import { answerQuestions, specOf } from '../lib/children.js';
import { jpegsIn } from '../lib/pictures.js';

export interface LoopSpec {
  readonly modelFolder: string;
  readonly photosFolder: string;
  readonly threads: number;
}

export interface LoopQuestion {
  readonly loop: 'infer' | 'decode' | 'both';
  readonly batch: number;
  readonly seconds: number;
}

export interface LoopAnswer {
  readonly images: number;
  readonly seconds: number;
  readonly cpuMs: number;
}

const { modelFolder, photosFolder, threads } = specOf<LoopSpec>();
const { manifest, graphPath } = await loadModelFolder(modelFolder);
const { input, output, preprocessing: recipe } = manifest;
const { height, width } = input;
const photos = jpegsIn(photosFolder).map((path) => readFileSync(path));
const preparer = createPixelPreparer({ maxImagePixels: 5e7, recipe, height, width });
const session = await openSession(graphPath, { threads });
const size = height * width * 3;
const pixels = new Uint8Array(size);
let next = 0;

const decode = () => preparer.prepare(photos[next++ % photos.length] as Buffer, pixels);
await decode();

/** `batch` images, decoded into `data` or as they are, through the session or not. */
async function turn({ loop, batch }: LoopQuestion, data: Uint8Array): Promise<void> {
  for (let image = 0; loop !== 'infer' && image < batch; image++) {
    await decode();
    if (loop === 'both') data.set(pixels, image * size);
  }
  if (loop === 'decode') return;
  const feed = new Tensor('uint8', data, [batch, height, width, 3]);
  const answers = (await session.run({ [input.name]: feed }, [output.name]))[output.name];
  const scores = answers?.data as Float32Array;
  const classes = scores.length / batch;
  for (let image = 0; loop === 'both' && image < batch; image++)
    topK(scores.subarray(image * classes, (image + 1) * classes), 5);
}

await answerQuestions('ready', async (question: LoopQuestion): Promise<LoopAnswer> => {
  const data = new Uint8Array(question.batch * size);
  for (let image = 0; image < question.batch; image++) data.set(pixels, image * size);
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  let images = 0;
  let elapsed = 0;
  while (elapsed < question.seconds) {
    await turn(question, data);
    images += question.batch;
    elapsed = (performance.now() - startedAt) / 1000;
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return { images, seconds: elapsed, cpuMs: (user + system) / 1000 };
});
process.exit(0);
