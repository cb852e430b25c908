/**
 * What a GPU gives: the engine alone, by batch size, and JPEG photos through the whole server. For
 * a machine with an NVIDIA GPU on which `vitserve inspect --providers` shows CUDA; elsewhere it
 * says what is missing.
 *
 * 1. A model of random weights, float16, with the operators for CUDA: it costs what a trained one
 *    costs.
 * 2. Every node has to run on CUDA: the session is made with onnxruntime's fallback to the CPU
 *    forbidden, and the profiler names the provider that ran each node.
 * 3. Each batch size, largest first, warmed and then timed; the memory of the GPU after one pass
 *    and after a second one, which should not grow.
 * 4. The server with the largest of these sizes, under load in a closed loop; who is busy (front,
 *    decoders, GPU process) says what the limit is.
 *
 * `--provider cpu --variant Ti/16` tries the script itself where there is no GPU.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pixelBytesOf } from '#vitserve/models/manifest.js';
import { diagnoseCuda } from '#vitserve/workers/inference/cuda/diagnose.js';
import { findNodeProviders } from '#vitserve/workers/inference/node-providers.js';
import { openSession } from '#vitserve/workers/inference/onnxruntime.js';
import { bench, numbers, photos, seconds, text } from './lib/bench.js';
import { listed, median, percentile, sum, Table } from './lib/figures.js';
import { underLoad } from './lib/load.js';
import { vitserve } from './lib/machine.js';
import { described, photosOf } from './lib/pictures.js';
import { withScratch } from './lib/scratch.js';
import { withServer } from './lib/server.js';
import { type OpenModel, openModel } from './lib/sessions.js';

const MOST_PHOTOS = 200;

/** What nvidia-smi says of the first GPU; empty where there is none. */
function askGpu(fields: string): string {
  const argv = ['-i', '0', `--query-gpu=${fields}`, '--format=csv,noheader'];
  return spawnSync('nvidia-smi', argv, { encoding: 'utf8' }).stdout?.trim() ?? '';
}

/** Prints which provider runs the nodes; whether CUDA runs all that should. */
async function placeNodes({ manifest, graphPath }: OpenModel, provider: string): Promise<boolean> {
  const onGpu = provider === 'cuda';
  if (onGpu) {
    const strict = await openSession(graphPath, { provider, noCpuFallback: true });
    await strict.release();
    console.log('loads with the fallback to the CPU forbidden');
  }
  const { name, type, height, width } = manifest.input;
  const sample = { name, type, dims: [1, height, width, 3] };
  const found = (await findNodeProviders(graphPath, sample)).find((each) => each.name === provider);
  const counts: Record<string, number> = {};
  for (const { provider: by, count } of found?.nodes ?? []) counts[by] = (counts[by] ?? 0) + count;
  console.log(`nodes: ${found?.problem ?? listed(counts, 0)}`);
  const isRight = !onGpu || Object.keys(counts).join() === 'CUDAExecutionProvider';
  if (!isRight) console.log(`NOT ALL ON CUDA: ${JSON.stringify(found)}`);
  return isRight;
}

async function timeBatches(
  { manifest, session }: OpenModel,
  sizes: readonly number[],
  seconds: number,
): Promise<void> {
  const pixels = new Uint8Array(Math.max(...sizes) * pixelBytesOf(manifest)).fill(128);
  const timed = async (size: number) => {
    const startedAt = performance.now();
    await session.run(pixels, size);
    return performance.now() - startedAt;
  };
  const first = new Map<number, number>();
  for (const size of [...sizes].reverse()) first.set(size, await timed(size));
  const usedOnce = askGpu('memory.used');
  console.log('');
  const table = new Table('batch', 'first, ms', 'ms a batch (median; p99)', 'images/s');
  for (const size of sizes) {
    await timed(size);
    const times: number[] = [];
    const until = performance.now() + (1000 * seconds) / sizes.length;
    while (performance.now() < until) times.push(await timed(size));
    table.row(
      size,
      first.get(size)?.toFixed(1) ?? '',
      `${median(times).toFixed(2)}; ${percentile(times, 0.99).toFixed(2)}`,
      ((1000 * size * times.length) / sum(times)).toFixed(0),
    );
  }
  if (usedOnce !== '')
    console.log(`\nGPU memory after one pass ${usedOnce}, after all ${askGpu('memory.used')}`);
}

export default bench({
  about: 'what a GPU gives: the engine by batch size, and the whole server',
  options: {
    variant: text('of ViT', 'B/16'),
    provider: text('cuda, or cpu to try the script', 'cuda'),
    sizes: numbers('of batches', '1,2,4,8,16,32,64'),
    callers: numbers('of the server', '64,256'),
    seconds: seconds(10),
    photos: photos(),
  },
  async run({ variant, sizes, seconds, ...given }) {
    const provider = given.provider === 'cpu' ? 'cpu' : 'cuda';
    const problem = provider === 'cuda' ? diagnoseCuda() : null;
    if (problem !== null) {
      console.error(
        `there is nothing to measure here: ${problem.text}\n` +
          'this needs Linux on x64, an NVIDIA GPU with its driver, and what docs/operate/gpu.md says',
      );
      process.exitCode = 1;
      return;
    }
    console.log(`${askGpu('name,driver_version,memory.total') || 'no GPU'}; ViT-${variant}\n`);
    await withScratch(async (repository) => {
      const form = provider === 'cuda' ? ['--dtype', 'float16', '--target', 'cuda'] : [];
      const folder = join(repository, 'measured/1');
      vitserve('convert', '--random', variant, ...form, '--out', folder);
      const model = await openModel(folder, provider);
      if (!(await placeNodes(model, provider))) process.exitCode = 1;
      await timeBatches(model, sizes, seconds);

      const images = (await photosOf(given.photos)).slice(0, MOST_PHOTOS);
      const settings = { provider, permits: 1024, maxBatchSize: Math.max(...sizes), repository };
      await withServer(settings, async (server) => {
        const startSeconds = (server.startMs / 1000).toFixed(1);
        console.log(`\nend to end: ${described(images)}; start to SERVING ${startSeconds} s\n`);
        const table = new Table(
          'callers',
          'images/s',
          'p50 / p99, ms',
          'images a batch',
          'cores',
          'errors',
        );
        for (const callers of given.callers) {
          const load = { kind: 'closed', callers } as const;
          const more = { warmUpSeconds: 2, connections: 4 };
          const run = await underLoad(server, images, load, { seconds, ...more });
          table.row(
            callers,
            run.goodputPerSecond.toFixed(0),
            `${run.latencyMs.p50.toFixed(1)} / ${run.latencyMs.p99.toFixed(1)}`,
            run.meanBatch.toFixed(1),
            listed(run.cores),
            JSON.stringify(run.errors),
          );
        }
      });
    });
  },
});
