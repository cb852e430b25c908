/**
 * One server before a simulated accelerator, which takes the given time for each batch size and no
 * processor. Small images, so that decoding costs as little as it can: what is seen is the server.
 *
 * Batches: throughput with batches and without, in turns; and what batching costs where there is
 * next to nothing to batch: the front's CPU time of a call at 500 calls a second and an accelerator
 * that takes 0.1 ms for whatever comes. Callers cost next to nothing.
 *
 * Rate: the highest rate of an open loop (Poisson arrivals) at which p99 stays within the objective
 * and 99.9 % of the calls are answered, by halving the range below what a closed loop gets. For
 * every rate tried: cores' worth of CPU time of the front, the decoders, the inference process and
 * this generator, which share the machine. Where one of them is near 1, or all together near the
 * number of cores, that is why it goes no further.
 *
 * The default costs are those of ViT-B/16 on an A100. Ten times as slow: 1:10,8:22,32:65.
 */
import type { Load } from '#vitserve/client/bench/load.js';
import { bench, number, rounds, seconds, text } from '../lib/bench.js';
import { listed, medians, sum, Table } from '../lib/figures.js';
import { type LoadedServer, underLoad } from '../lib/load.js';
import { drawnPictures } from '../lib/pictures.js';
import { type BenchServer, type ServeSettings, withServer } from '../lib/server.js';

const BATCHED_CALLERS = [32, 128];
const RATE_CALLERS = 128;
const CONNECTIONS = 4;
const SMALL_RATE = 500;
const ANSWERED_SHARE = 0.999;
const PERMITS = 1024;
const SIZES = [1, 2, 4, 8, 16, 32];

function figuresOf(run: LoadedServer) {
  const queueSeconds = run.grown('vitserve_queue_duration_seconds_sum');
  return {
    rate: run.goodputPerSecond,
    meanBatch: run.meanBatch,
    queueMs: (queueSeconds / run.grown('vitserve_queue_duration_seconds_count')) * 1000,
    p50: run.latencyMs.p50,
    p99: run.latencyMs.p99,
    busy: busyShare(run),
    frontMs: run.cpuMs.front,
    failed: sum(Object.values(run.errors)),
  };
}

const busyShare = (run: LoadedServer) =>
  run.grown('vitserve_inference_duration_seconds_sum') / run.elapsed;

/** `≤1: 3  ≤2: 17  …`: executions by batch size. */
function histogramOf({ grown }: LoadedServer): string {
  const upTo = SIZES.map((size) => grown('vitserve_batch_size_bucket', `{le="${size}"`));
  const own = upTo.map((count, at) => count - (upTo[at - 1] ?? 0));
  return SIZES.map((size, at) => `≤${size}: ${own[at]}`).join('  ');
}

interface Accelerator {
  readonly costs: string;
  readonly seconds: number;
  readonly images: readonly Buffer[];
}

async function batches(accelerator: Accelerator, rounds: number): Promise<void> {
  const { images, seconds } = accelerator;
  /** Rounds with batches and without, in turns. */
  const compare = async (load: Load, simulated: string) => {
    const sides: readonly [name: string, limit: ServeSettings, done: LoadedServer[]][] = [
      ['up to 32', {}, []],
      ['of one', { maxBatchSize: 1 }, []],
    ];
    for (let round = 0; round < rounds; round++) {
      for (const [, limit, done] of sides) {
        const run = await withServer({ simulated, permits: PERMITS, ...limit }, (server) =>
          underLoad(server, images, load, { seconds, bare: true }),
        );
        done.push(run);
      }
    }
    return sides.map(([name, , done]) => ({ name, done, ...medians(done.map(figuresOf)) }));
  };

  const table = new Table(
    'callers',
    'batches',
    'images/s',
    'mean batch',
    'queue, ms',
    'p50 / p99, ms',
    'accelerator busy, %',
    'failed',
    'executions by batch size',
  );
  for (const callers of BATCHED_CALLERS) {
    const compared = await compare({ kind: 'closed', callers }, accelerator.costs);
    for (const { name, done, ...each } of compared) {
      table.row(
        callers,
        name,
        each.rate.toFixed(0),
        each.meanBatch.toFixed(1),
        each.queueMs.toFixed(1),
        `${each.p50.toFixed(1)} / ${each.p99.toFixed(1)}`,
        (each.busy * 100).toFixed(0),
        each.failed,
        histogramOf(done[0] as LoadedServer),
      );
    }
    const [batched, single] = compared.map(({ rate }) => rate);
    table.row(callers, 'ratio', ((batched ?? NaN) / (single ?? NaN)).toFixed(2));
  }
  const open = { kind: 'open', ratePerSecond: SMALL_RATE, seed: 0 } as const;
  const [batched, single] = (await compare(open, '1:0.1,32:0.1')).map(({ frontMs }) => frontMs);
  const ratio = ((batched ?? NaN) / (single ?? NaN)).toFixed(2);
  const us = [batched, single].map((ms) => ((ms ?? NaN) * 1000).toFixed(0));
  console.log(
    `\n${SMALL_RATE} calls/s, nothing to batch: front ${us[0]} µs a call with batches, ${us[1]} without, ratio ${ratio}`,
  );
}

async function rate(
  { costs, seconds, images }: Accelerator,
  objectiveMs: number,
  steps: number,
): Promise<void> {
  const table = new Table(
    'load',
    'images/s',
    'p50 / p99, ms',
    'images a batch',
    'accelerator busy, %',
    'cores',
    'answered, %',
    'errors',
    'sent late, p99, ms',
  );
  const attempt = async (server: BenchServer, name: string, load: Load) => {
    const more = { connections: CONNECTIONS, timeoutMs: 5000 };
    const run = await underLoad(server, images, load, { seconds, ...more });
    const answered = run.outcomes.find(({ code }) => code === 'OK')?.calls ?? 0;
    const share = answered / sum(run.outcomes.map(({ calls }) => calls));
    const generator = (run.cpuMs.callers * run.callsPerSecond) / 1000;
    table.row(
      name,
      run.goodputPerSecond.toFixed(0),
      `${run.latencyMs.p50.toFixed(1)} / ${run.latencyMs.p99.toFixed(1)}`,
      run.meanBatch.toFixed(1),
      (busyShare(run) * 100).toFixed(0),
      listed({ ...run.cores, generator }),
      (share * 100).toFixed(2),
      JSON.stringify(run.errors),
      run.sendLagMs?.p99.toFixed(1) ?? '',
    );
    const holds = run.latencyMs.p99 <= objectiveMs && share >= ANSWERED_SHARE;
    return { rate: run.goodputPerSecond, holds };
  };
  const settings = { simulated: costs, inferenceProcesses: 1, permits: PERMITS };
  await withServer(settings, async (server) => {
    const callers = RATE_CALLERS;
    const closed = await attempt(server, `${callers} callers`, { kind: 'closed', callers });
    let [good, bad] = [0, Math.ceil(closed.rate * 1.1)];
    for (let seed = 0; seed < steps && bad - good > bad / 50; seed++) {
      // What holds is more likely to be high than low.
      const ratePerSecond = Math.round(good + (bad - good) * (good === 0 ? 0.7 : 0.5));
      const load = { kind: 'open', ratePerSecond, seed } as const;
      const { holds } = await attempt(server, `${ratePerSecond}/s`, load);
      if (holds) good = ratePerSecond;
      else bad = ratePerSecond;
    }
    const held = good === 0 ? 'no rate that was tried held' : `${good} images/s`;
    console.log(`\n${held}: p99 within ${objectiveMs} ms`);
  });
}

export default bench({
  about: 'a simulated accelerator: what batches give, and the rate that one server sustains',
  options: {
    only: text('batches, rate or both', 'both'),
    costs: text('batch size:milliseconds,…', '1:1.0,8:2.2,32:6.5'),
    seconds: seconds(4),
    rounds: rounds(3),
    objective: number('of the p99 of the rate, ms', 50),
    steps: number('of the search for the rate', 7),
  },
  async run({ only, costs, seconds, ...given }) {
    const images = await drawnPictures({ width: 32, height: 32 });
    const accelerator: Accelerator = { costs, seconds, images };
    console.log(`costs ${costs}\n`);
    if (only !== 'rate') await batches(accelerator, given.rounds);
    if (only === 'both') console.log('');
    if (only !== 'batches') await rate(accelerator, given.objective, given.steps);
  },
});
