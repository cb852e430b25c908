/**
 * Random arrivals below and above what the server can do.
 *
 *   npm run build && node bench/poisson.mjs [--model-repository REPOSITORY] [--photos FOLDER] [--seconds 8] [--rounds 3] [--timeout 1000]
 *
 * In each round: one caller alone (the unloaded latency), 32 callers (the capacity), Poisson
 * arrivals at 70 % of that, and at 300 % with deadlines of TIMEOUT ms, while another connection
 * asks for health every 20 ms. Printed are medians of rounds. Callers are bare (bare-callers.mjs),
 * so that they leave the machine to the server.
 */
import { parseArgs } from 'node:util';
import { BareTarget } from './bare-callers.mjs';
import { jpegsIn, PHOTOS, pictures } from './pictures.mjs';
import { median, startServer, total, underLoad } from './server.mjs';

const { values: given } = parseArgs({
  options: {
    'model-repository': { type: 'string' },
    photos: { type: 'string', default: PHOTOS },
    seconds: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '3' },
    timeout: { type: 'string', default: '1000' },
  },
});
const [seconds, rounds, timeoutMs] = ['seconds', 'rounds', 'timeout'].map((name) =>
  Number(given[name]),
);
const images = await pictures(jpegsIn(given.photos));
const flags =
  given['model-repository'] === undefined
    ? []
    : ['--model-repository', given['model-repository'], '--allow-random-weights'];
const server = await startServer([...flags, '--execution-provider', 'cpu']);

/** Health checks, one every 20 ms, until stopped; resolves to their latencies in ms, ascending. */
function watchHealth() {
  const target = new BareTarget({
    address: server.address,
    messages: [Buffer.alloc(0)],
    timeoutMs: 5000,
    path: '/grpc.health.v1.Health/Check',
  });
  const latencies = [];
  const timer = setInterval(async () => {
    const startedAt = performance.now();
    const { code } = await target.send();
    latencies.push(code === 'OK' ? performance.now() - startedAt : Number.POSITIVE_INFINITY);
  }, 20);
  return () => {
    clearInterval(timer);
    target.close();
    return latencies.sort((one, other) => one - other);
  };
}

const rows = new Map();
const note = (name, value) => rows.set(name, [...(rows.get(name) ?? []), value]);
try {
  for (let round = 0; round < rounds; round++) {
    const alone = await underLoad(
      server,
      images,
      { kind: 'closed', callers: 1 },
      { seconds, bare: true },
    );
    const full = await underLoad(
      server,
      images,
      { kind: 'closed', callers: 32 },
      { seconds, bare: true },
    );
    const capacity = full.goodputPerSecond;
    const usual = await underLoad(
      server,
      images,
      { kind: 'open', ratePerSecond: 0.7 * capacity, seed: round },
      { seconds: 2 * seconds, bare: true },
    );
    const stop = watchHealth();
    const over = await underLoad(
      server,
      images,
      { kind: 'open', ratePerSecond: 3 * capacity, seed: round },
      { seconds, bare: true, timeoutMs },
    );
    const health = stop();
    note('one caller: p50, ms', alone.latencyMs.p50);
    note('32 callers: images/s', capacity);
    note('70 %: p50, ms', usual.latencyMs.p50);
    note('70 %: p99, ms', usual.latencyMs.p99);
    note('70 %: p99 / p50 of one caller', usual.latencyMs.p99 / alone.latencyMs.p50);
    note('300 %: answered in time, of the capacity', over.goodputPerSecond / capacity);
    note('300 %: p99 of what was answered, ms', over.latencyMs.p99);
    note('300 %: refusals, p50, ms', over.failureLatencyMs.p50);
    note('300 %: refusals, p99, ms', over.failureLatencyMs.p99);
    for (const [reason, share] of reasons(over)) note(`300 %: ${reason}, of the calls`, share);
    note(
      '300 %: rejections held back, of the calls',
      over.grown('vitserve_held_rejections_total') / over.grown('vitserve_requests_total'),
    );
    note('300 %: health, p99, ms', health[Math.floor(health.length * 0.99)]);
    note(
      '300 %: event-loop delay of the front, p99, ms',
      total(over.after, 'nodejs_eventloop_lag_p99_seconds') * 1000,
    );
  }
} finally {
  await server.stop();
}

/** How the calls ended, as the server counts them: shares by reason. */
function* reasons({ before, after }) {
  const calls = [...after]
    .map(([key, value]) => [
      /^vitserve_requests_total\{method="Classify",code="(\w+)",reason="(\w*)"/.exec(key),
      value - (before.get(key) ?? 0),
    ])
    .filter(([found, count]) => found !== null && count > 0);
  const all = calls.reduce((sum, [, count]) => sum + count, 0);
  for (const [[, code, reason], count] of calls) yield [reason || code, count / all];
}

console.log(
  `${images.length} photos; ${rounds} rounds of ${seconds} s, medians; deadline at 300 %: ${timeoutMs} ms\n`,
);
console.log('| | |\n|---|---|');
for (const [name, values] of rows) console.log(`| ${name} | ${median(values).toPrecision(3)} |`);
