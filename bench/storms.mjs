/**
 * Callers that call again at once whatever they are told: what is left of the machine for answers?
 *
 *   npm run build && node bench/storms.mjs [--model-repository REPOSITORY] [--callers 16,64] [--permits auto] [--seconds 10]
 *
 * First the capacity, and once more at the end: 32 callers and a permit for each; the higher figure
 * counts. Between them a server with PERMITS, and for each number of CALLERS as many callers, each
 * over a connection of its own. Beside them 24 callers stay away for five seconds when they are
 * rejected: how soon are these told? Callers are bare (bare-callers.mjs), so that they leave the
 * machine to the server.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { VitserveClient } from '../dist/client/client.js';
import { BareTarget } from './bare-callers.mjs';
import { jpegsIn, PHOTOS, pictures } from './pictures.mjs';
import { startServer, total, underLoad } from './server.mjs';

const { values: given } = parseArgs({
  options: {
    'model-repository': { type: 'string' },
    photos: { type: 'string', default: PHOTOS },
    callers: { type: 'string', default: '16,64' },
    permits: { type: 'string', default: 'auto' },
    seconds: { type: 'string', default: '10' },
  },
});
const seconds = Number(given.seconds);
const WARM_UP_SECONDS = 3;
const GOOD_CALLERS = 24;
const GOOD_CALLER_WAITS_MS = 5_000;

const images = await pictures(jpegsIn(given.photos));
const messages = images.map((image) =>
  VitserveClient.encodeClassify({ image, model: '', topK: 5 }),
);
const flags =
  given['model-repository'] === undefined
    ? []
    : ['--model-repository', given['model-repository'], '--allow-random-weights'];
const start = (permits) =>
  startServer([...flags, '--execution-provider', 'cpu', '--permits', permits]);

async function capacityOf() {
  const server = await start('64');
  try {
    const load = { kind: 'closed', callers: 32 };
    const { goodputPerSecond } = await underLoad(server, images, load, {
      seconds,
      bare: true,
      warmUpSeconds: 2,
    });
    return goodputPerSecond;
  } finally {
    await server.stop();
  }
}

/**
 * Images a second that are answered, rejections a second, and how long well-behaved callers wait
 * for theirs.
 */
async function storm(server, callers) {
  const counts = { answered: 0, rejected: 0 };
  const rejectedAfterMs = [];
  const connect = () => new BareTarget({ address: server.address, messages, timeoutMs: 60_000 });
  const targets = Array.from({ length: callers + GOOD_CALLERS }, connect);
  let running = true;
  const call = async (target, afterRejection) => {
    while (running) {
      const startedAt = performance.now();
      const { code } = await target.send();
      if (code === 'OK') counts.answered++;
      else if (code === 'NOT_OK') {
        counts.rejected++;
        await afterRejection(performance.now() - startedAt);
      } else break;
    }
  };
  const naive = async () => {};
  const good = async (tookMs) => {
    rejectedAfterMs.push(tookMs);
    await sleep(GOOD_CALLER_WAITS_MS);
  };
  const all = targets.map((target, index) => call(target, index < callers ? naive : good));
  await sleep(WARM_UP_SECONDS * 1000);
  const before = { ...counts };
  rejectedAfterMs.length = 0;
  const startedAt = performance.now();
  await sleep(seconds * 1000);
  const elapsed = (performance.now() - startedAt) / 1000;
  const [answered, rejected] = ['answered', 'rejected'].map(
    (name) => (counts[name] - before[name]) / elapsed,
  );
  running = false;
  for (const target of targets) target.close();
  await Promise.all(all);
  const limit = total(await server.metrics(), 'vitserve_permits_limit');
  rejectedAfterMs.sort((one, other) => one - other);
  return { answered, rejected, limit, rejectedAfterMs };
}

const capacities = [await capacityOf()];
const storms = [];
const server = await start(given.permits);
try {
  for (const callers of given.callers.split(',').map(Number)) {
    storms.push({ callers, ...(await storm(server, callers)) });
    // Until those that were given up are worked on or gone.
    while (total(await server.metrics(), 'vitserve_permits_in_use') > 0) await sleep(100);
  }
} finally {
  await server.stop();
}
capacities.push(await capacityOf());
const capacity = Math.max(...capacities);

const figure = (value) => value?.toPrecision(3) ?? '–';
console.log(`${images.length} photos; capacity ${capacities.map(figure).join(' and ')} images/s\n`);
console.log(
  '| callers | permits | answered/s | of the capacity | rejected/s | good callers: rejections, p50, p95, most, ms |',
);
console.log('|---|---|---|---|---|---|');
for (const { callers, answered, rejected, limit, rejectedAfterMs } of storms) {
  const at = (share) => figure(rejectedAfterMs[Math.ceil(rejectedAfterMs.length * share) - 1]);
  const cells = [
    callers,
    limit,
    figure(answered),
    (answered / capacity).toFixed(2),
    rejected.toFixed(0),
  ];
  console.log(
    `| ${cells.join(' | ')} | ${[rejectedAfterMs.length, at(0.5), at(0.95), at(1)].join(', ')} |`,
  );
}
