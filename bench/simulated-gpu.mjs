/**
 * What one front sustains when the model is no limit: small images, simulated inference with the
 * times of a GPU.
 *
 *   npm run build && node bench/simulated-gpu.mjs [--costs 1:1.0,8:2.2,32:6.5] [--objective 50] [--seconds 5] [--steps 7]
 *                                                 [--callers 128] [--connections 4]
 *
 * Searched is the highest rate of an open loop (Poisson arrivals) at which p99 stays within
 * OBJECTIVE ms and 99.9 % of the calls are answered, by halving the range below what a closed loop
 * gets out. For every rate tried: what came of it, and cores' worth of CPU time of the front, the
 * decoders, the inference process and this generator, which share the machine: where one of them is
 * near 1, or all together near the number of cores, that is why it goes no further.
 */
import { parseArgs } from 'node:util';
import { availableCores } from '../dist/system/cores.js';
import { pictures } from './pictures.mjs';
import { startServer, underLoad } from './server.mjs';

const { values: given } = parseArgs({
  options: {
    costs: { type: 'string', default: '1:1.0,8:2.2,32:6.5' },
    objective: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '7' },
    callers: { type: 'string', default: '128' },
    connections: { type: 'string', default: '4' },
  },
});
const [objectiveMs, seconds, steps, callers, connections] = [
  'objective',
  'seconds',
  'steps',
  'callers',
  'connections',
].map((name) => Number(given[name]));
const ANSWERED_SHARE = 0.999;

const images = await pictures([], { width: 32, height: 32 });
const server = await startServer([
  '--execution-provider',
  `simulated:${given.costs}`,
  '--inference-processes',
  '1',
  '--permits',
  '1024',
]);

async function tryLoad(name, load) {
  const run = await underLoad(server, images, load, { seconds, connections, timeoutMs: 5000 });
  const calls = run.outcomes.reduce((sum, outcome) => sum + outcome.calls, 0);
  const answered = run.outcomes.find(({ code }) => code === 'OK')?.calls ?? 0;
  const p99 = run.latencyMs?.p99 ?? Number.POSITIVE_INFINITY;
  const generator = ((run.generator.cpuMsPerCall ?? 0) * run.callsPerSecond) / 1000;
  const cells = [
    name,
    run.goodputPerSecond.toFixed(0),
    `${run.latencyMs?.p50.toFixed(1)} / ${p99.toFixed(1)}`,
    run.server?.meanBatchSize.toFixed(1),
    ((run.grown('vitserve_inference_duration_seconds_sum') / run.elapsed) * 100).toFixed(0),
    [run.cores.front, run.cores.decoders, run.cores.inference, generator]
      .map((spent) => spent.toFixed(2))
      .join(', '),
    `${((answered / calls) * 100).toFixed(2)} % ${JSON.stringify(run.errors)}`,
    run.sendLagMs?.p99.toFixed(1),
  ];
  console.log(`| ${cells.join(' | ')} |`);
  return {
    rate: run.goodputPerSecond,
    holds: p99 <= objectiveMs && answered / calls >= ANSWERED_SHARE,
  };
}

try {
  console.log(`costs ${given.costs}; ${availableCores()} cores; p99 within ${objectiveMs} ms\n`);
  console.log(
    '| load | images/s | p50 / p99, ms | images an execution | accelerator busy, % | cores: front, decoders, inference, generator | answered | sent late, p99, ms |\n|---|---|---|---|---|---|---|---|',
  );
  const closed = await tryLoad(`${callers} callers`, { kind: 'closed', callers });
  let [good, bad] = [0, Math.ceil(closed.rate * 1.1)];
  for (let step = 0; step < steps && bad - good > bad / 50; step++) {
    // What holds is more likely to be high than low.
    const ratePerSecond = Math.round(good + (bad - good) * (good === 0 ? 0.7 : 0.5));
    const { holds } = await tryLoad(`${ratePerSecond}/s`, {
      kind: 'open',
      ratePerSecond,
      seed: step,
    });
    if (holds) good = ratePerSecond;
    else bad = ratePerSecond;
  }
  console.log(
    good === 0
      ? '\nno rate that was tried held'
      : `\n${good} images/s with p99 within ${objectiveMs} ms`,
  );
} finally {
  await server.stop();
}
