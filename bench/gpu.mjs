/**
 * What a GPU gives: the engine alone, by batch size, and JPEG photos through the whole server. For
 * a machine with an NVIDIA GPU on which `vitserve inspect --providers` shows CUDA; elsewhere it
 * says what is missing.
 *
 *   npm run build && node bench/gpu.mjs [--variant B/16] [--photos FOLDER] [--sizes 1,2,4,8,16,32,64] [--seconds 10]
 *                                       [--callers 64,256] [--provider cuda]
 *
 * 1. A model of random weights, float16, with the operators for CUDA: it costs what a trained one
 *    costs.
 * 2. Every node has to run on CUDA: the session is made with onnxruntime's fallback to the CPU
 *    forbidden, and the profiler names the provider that ran each node.
 * 3. Each batch size, largest first, warmed and then timed; the memory of the GPU after one pass
 *    and after a second one, which should not grow.
 * 4. The server with these sizes, under load in a closed loop; who is busy (front, decoders, GPU
 *    process) says what the limit is.
 *
 * `--provider cpu --variant Ti/16` tries the script itself where there is no GPU.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pixelBytesOf } from '../dist/models/manifest.js';
import { loadModelFolder } from '../dist/models/repository.js';
import { availableCores } from '../dist/system/cores.js';
import { diagnoseCuda } from '../dist/workers/inference/cuda/diagnose.js';
import { findOnnxruntime } from '../dist/workers/inference/cuda/provider-place.js';
import { findNodeProviders } from '../dist/workers/inference/node-providers.js';
import { loadOnnxSession } from '../dist/workers/inference/onnx-session.js';
import { openSession } from '../dist/workers/inference/onnxruntime.js';
import { jpegsIn, pictures } from './pictures.mjs';
import { median, startServer, underLoad } from './server.mjs';

const { values: given } = parseArgs({
  options: {
    variant: { type: 'string', default: 'B/16' },
    photos: { type: 'string' },
    sizes: { type: 'string', default: '1,2,4,8,16,32,64' },
    seconds: { type: 'string', default: '10' },
    callers: { type: 'string', default: '64,256' },
    provider: { type: 'string', default: 'cuda' },
  },
});
const numbers = (text) => text.split(',').map(Number);
const [sizes, seconds, { provider }] = [numbers(given.sizes), Number(given.seconds), given];
const onGpu = provider === 'cuda';

const problem = onGpu ? diagnoseCuda() : null;
if (problem !== null) {
  console.error(`there is nothing to measure here: ${problem.text}`);
  console.error(
    'this needs Linux on x64, an NVIDIA GPU with its driver, and what docs/gpu.md says',
  );
  process.exit(1);
}

/** What nvidia-smi says of the first GPU; empty where there is none. */
function askGpu(fields) {
  const { stdout } = spawnSync(
    'nvidia-smi',
    ['-i', '0', `--query-gpu=${fields}`, '--format=csv,noheader'],
    {
      encoding: 'utf8',
    },
  );
  return stdout?.trim() ?? '';
}

console.log(
  `machine: ${askGpu('name,driver_version,memory.total') || 'no GPU'}; ${cpus()[0]?.model}, ${availableCores()} cores`,
);
console.log(
  `Node.js ${process.version}, onnxruntime ${findOnnxruntime().version}, ViT-${given.variant} on ${provider}\n`,
);

const scratch = mkdtempSync(join(tmpdir(), 'vitserve-gpu-'));
let failed = false;
try {
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const form = onGpu ? ['--dtype', 'float16', '--target', 'cuda'] : [];
  execFileSync(
    process.execPath,
    [
      main,
      'convert',
      '--random',
      given.variant,
      ...form,
      '--model-repository',
      scratch,
      '--name',
      'measured',
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const { graphPath, manifest } = await loadModelFolder(join(scratch, 'measured/1'));

  if (onGpu) {
    const strict = await openSession(graphPath, { provider, noCpuFallback: true });
    await strict.release();
    console.log('loads with the fallback to the CPU forbidden');
  }
  const { input } = manifest;
  const sample = { name: input.name, type: input.type, dims: [1, input.height, input.width, 3] };
  const found = (await findNodeProviders(graphPath, sample)).find(({ name }) => name === provider);
  const counts = new Map();
  for (const { provider: by, count } of found?.nodes ?? [])
    counts.set(by, (counts.get(by) ?? 0) + count);
  const where = [...counts].map(([by, count]) => `${count} on ${by}`).join(', ');
  console.log(`nodes: ${found?.problem ?? where}`);
  if (onGpu && [...counts.keys()].join() !== 'CUDAExecutionProvider') {
    failed = true;
    console.log(`NOT ALL ON CUDA: ${JSON.stringify(found)}`);
  }

  const { session } = await loadOnnxSession({ graphPath, manifest, provider, threads: 1 });
  const pixels = new Uint8Array(Math.max(...sizes) * pixelBytesOf(manifest)).fill(128);
  const timed = async (size) => {
    const startedAt = performance.now();
    await session.run(pixels, size);
    return performance.now() - startedAt;
  };
  const first = new Map();
  for (const size of sizes.toReversed()) first.set(size, await timed(size));
  const usedOnce = askGpu('memory.used');
  console.log('\n| batch | first, ms | ms a batch (median; p99) | images/s |\n|---|---|---|---|');
  for (const size of sizes) {
    await timed(size);
    const times = [];
    for (
      const until = performance.now() + (1000 * seconds) / sizes.length;
      performance.now() < until;
    )
      times.push(await timed(size));
    times.sort((one, other) => one - other);
    const p99 = times[Math.floor(times.length * 0.99)];
    const rate = (1000 * size * times.length) / times.reduce((sum, time) => sum + time, 0);
    console.log(
      `| ${size} | ${first.get(size).toFixed(1)} | ${median(times).toFixed(2)}; ${p99.toFixed(2)} | ${rate.toFixed(0)} |`,
    );
  }
  if (onGpu)
    console.log(`\nGPU memory after one pass ${usedOnce}, after all ${askGpu('memory.used')}`);

  const images = await pictures(
    given.photos === undefined ? [] : jpegsIn(given.photos).slice(0, 200),
  );
  const kilobytes = images.reduce((sum, { length }) => sum + length, 0) / images.length / 1000;
  const server = await startServer([
    ...[
      '--model-repository',
      scratch,
      '--allow-random-weights',
      '--execution-provider',
      provider,
      '--permits',
      '1024',
    ],
    ...['--max-batch-size', String(Math.max(...sizes)), '--start-timeout', '300s'],
  ]);
  try {
    console.log(
      `\nend to end: ${images.length} JPEGs of ${kilobytes.toFixed(0)} kB; start to SERVING ${(server.startMs / 1000).toFixed(1)} s`,
    );
    console.log(
      '| callers | images/s | p50 / p99, ms | images a batch | cores: front, decoders, inference | errors |\n|---|---|---|---|---|---|',
    );
    for (const callers of numbers(given.callers)) {
      const run = await underLoad(
        server,
        images,
        { kind: 'closed', callers },
        { seconds, warmUpSeconds: 2, connections: 4 },
      );
      const { latencyMs, cores } = run;
      const cells = [
        callers,
        run.goodputPerSecond.toFixed(0),
        `${latencyMs?.p50.toFixed(1)} / ${latencyMs?.p99.toFixed(1)}`,
        run.server?.meanBatchSize.toFixed(1),
        [cores.front, cores.decoders, cores.inference].map((spent) => spent.toFixed(2)).join(', '),
        JSON.stringify(run.errors),
      ];
      console.log(`| ${cells.join(' | ')} |`);
    }
  } finally {
    await server.stop();
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
