// Dynamic batching, seen without a GPU: a simulated accelerator behind the whole service, with
// batching and without, interleaved. Small images, so that decoding costs as little as it can.
//   node bench/batching.mjs [COSTS] [SECONDS] [ROUNDS]
// COSTS is batch size:milliseconds,…; the default is ViT-B/16 on an A100. Ten times as slow:
// 1:10,8:22,32:65. At the end, what batching costs where there is next to nothing to batch: the
// front's CPU a call, with it and without, at 500 calls a second and an accelerator that takes 0.1
// ms for whatever comes.
import { pictures } from './pictures.mjs';
import { median, startServer, underLoad } from './server.mjs';

const costs = process.argv[2] ?? '1:1.0,8:2.2,32:6.5';
const seconds = Number(process.argv[3] ?? 4);
const rounds = Number(process.argv[4] ?? 3);
const images = await pictures([], { width: 32, height: 32 });

async function measure(load, flags, costs) {
  const server = await startServer([
    '--execution-provider',
    `simulated:${costs}`,
    '--permits',
    '1024',
    ...flags,
  ]);
  try {
    const run = await underLoad(server, images, load, { seconds, bare: true });
    const { grown } = run;
    return {
      ...run,
      frontMs: run.cpuMs.front,
      p50: run.latencyMs.p50,
      p99: run.latencyMs.p99,
      meanBatch: grown('vitserve_batch_size_sum') / grown('vitserve_batch_size_count'),
      queueMs:
        (grown('vitserve_queue_duration_seconds_sum') /
          grown('vitserve_queue_duration_seconds_count')) *
        1000,
      busy: grown('vitserve_inference_duration_seconds_sum') / run.elapsed,
      histogram: histogram(run.before, run.after),
    };
  } finally {
    await server.stop();
  }
}

function bucket(samples, bound) {
  for (const [key, value] of samples)
    if (key.startsWith(`vitserve_batch_size_bucket{le="${bound}"`)) return value;
  return 0;
}

function histogram(before, after) {
  const bounds = [1, 2, 4, 8, 16, 32];
  let below = 0;
  return bounds.map((bound) => {
    const upTo = bucket(after, bound) - bucket(before, bound);
    const share = upTo - below;
    below = upTo;
    return `≤${bound}: ${share}`;
  });
}

/** Rounds with batches and without, in turns. */
async function compare(load, costs) {
  const batched = [];
  const single = [];
  for (let round = 0; round < rounds; round++) {
    batched.push(await measure(load, [], costs));
    single.push(await measure(load, ['--max-batch-size', '1'], costs));
  }
  return { batched, single };
}

const of = (runs, key) => median(runs.map((run) => run[key]));

for (const callers of [32, 128]) {
  const { batched, single } = await compare({ kind: 'closed', callers }, costs);
  for (const [name, runs] of [
    ['batches up to 32', batched],
    ['batch size 1', single],
  ]) {
    console.log(
      `${callers} callers, ${name}: ${of(runs, 'goodputPerSecond').toFixed(0)} images/s, mean batch ${of(runs, 'meanBatch').toFixed(1)}, ` +
        `queue ${of(runs, 'queueMs').toFixed(1)} ms, p50 ${of(runs, 'p50').toFixed(1)} ms, p99 ${of(runs, 'p99').toFixed(1)} ms, ` +
        `accelerator busy ${(100 * of(runs, 'busy')).toFixed(0)} %`,
    );
    console.log(
      `    executions by batch size  ${runs[0].histogram.join('  ')}  errors ${JSON.stringify(runs[0].errors)}`,
    );
  }
  console.log(
    `${callers} callers, ratio ${(of(batched, 'goodputPerSecond') / of(single, 'goodputPerSecond')).toFixed(2)}`,
  );
}

const { batched, single } = await compare(
  { kind: 'open', ratePerSecond: 500, seed: 0 },
  '1:0.1,32:0.1',
);
const [withBatches, without] = [of(batched, 'frontMs'), of(single, 'frontMs')];
console.log(
  `500 calls/s, nothing to batch: front ${(1000 * withBatches).toFixed(0)} µs a call with batches, ` +
    `${(1000 * without).toFixed(0)} without, ratio ${(withBatches / without).toFixed(2)}`,
);
