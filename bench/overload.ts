/**
 * Random arrivals below and above what the server can do, and callers that call again at once
 * whatever they are told. Callers cost next to nothing, so that they leave the machine to the
 * server.
 *
 * Arrivals: in each round one caller alone (the unloaded latency), 32 callers (the capacity),
 * Poisson arrivals at 70 % of that, and at 300 % with deadlines, while another connection asks for
 * health every 20 ms. Printed are medians of rounds.
 *
 * Storms: the capacity, once more at the end (32 callers and a permit for each; the higher figure
 * counts), and between them for each number of callers as many, each over a connection of its own.
 * Beside them 24 callers stay away for five seconds when they are rejected: how soon are these
 * told?
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BareTarget } from './lib/bare-target.js';
import { bench, number, numbers, photos, repository, rounds, seconds, text } from './lib/bench.js';
import { median, percentile, sum, Table } from './lib/figures.js';
import { encoded, type LoadedServer, type LoadSettings, underLoad } from './lib/load.js';
import { described, photosOf } from './lib/pictures.js';
import { type BenchServer, type ServeSettings, total, withServer } from './lib/server.js';

interface Overload {
  readonly images: readonly Buffer[];
  readonly settings: ServeSettings;
  readonly seconds: number;
}

const CAPACITY_CALLERS = 32;
const HEALTH_EVERY_MS = 20;
const STORM_WARM_UP_SECONDS = 3;
const PATIENT_CALLERS = 24;
const PATIENCE_MS = 5_000;

/** Health checks, one every 20 ms, until stopped; their latencies in ms. */
function watchHealth({ address }: BenchServer): () => number[] {
  const path = '/grpc.health.v1.Health/Check';
  const target = new BareTarget({ address, messages: [Buffer.alloc(0)], timeoutMs: 5000, path });
  const latencies: number[] = [];
  const timer = setInterval(async () => {
    const startedAt = performance.now();
    const { code } = await target.send();
    latencies.push(code === 'OK' ? performance.now() - startedAt : Number.POSITIVE_INFINITY);
  }, HEALTH_EVERY_MS);
  return () => {
    clearInterval(timer);
    target.close();
    return latencies;
  };
}

/** How the calls ended, as the server counts them: shares by reason. */
function reasons({ before, after }: LoadedServer): [reason: string, share: number][] {
  const ended = [...after].flatMap(([key, value]): [string, number][] => {
    const pattern = /^vitserve_requests_total\{method="Classify",code="(\w+)",reason="(\w*)"/;
    const found = pattern.exec(key);
    const calls = value - (before.get(key) ?? 0);
    return found === null || calls === 0 ? [] : [[found[2] || String(found[1]), calls]];
  });
  const all = sum(ended.map(([, calls]) => calls));
  return ended.map(([reason, calls]) => [reason, calls / all]);
}

async function arrivals(overload: Overload, rounds: number, timeoutMs: number): Promise<void> {
  const { images, settings, seconds } = overload;
  const rows = new Map<string, number[]>();
  const note = (name: string, value: number) => rows.set(name, [...(rows.get(name) ?? []), value]);
  await withServer(settings, async (server) => {
    const closed = (callers: number) =>
      underLoad(server, images, { kind: 'closed', callers }, { seconds, bare: true });
    const open = (ratePerSecond: number, seed: number, more: Partial<LoadSettings>) =>
      underLoad(
        server,
        images,
        { kind: 'open', ratePerSecond, seed },
        {
          seconds,
          bare: true,
          ...more,
        },
      );
    for (let round = 0; round < rounds; round++) {
      const alone = await closed(1);
      const capacity = (await closed(CAPACITY_CALLERS)).goodputPerSecond;
      const usual = await open(0.7 * capacity, round, { seconds: 2 * seconds });
      const stop = watchHealth(server);
      const over = await open(3 * capacity, round, { timeoutMs });
      const health = stop();
      note('one caller: p50, ms', alone.latencyMs.p50);
      note(`${CAPACITY_CALLERS} callers: images/s`, capacity);
      note('70 %: p50, ms', usual.latencyMs.p50);
      note('70 %: p99, ms', usual.latencyMs.p99);
      note('70 %: p99 / p50 of one caller', usual.latencyMs.p99 / alone.latencyMs.p50);
      note('300 %: answered in time, of the capacity', over.goodputPerSecond / capacity);
      note('300 %: p99 of what was answered, ms', over.latencyMs.p99);
      note('300 %: rejections, p50, ms', over.failureLatencyMs?.p50 ?? Number.NaN);
      note('300 %: rejections, p99, ms', over.failureLatencyMs?.p99 ?? Number.NaN);
      for (const [reason, share] of reasons(over)) note(`300 %: ${reason}, of the calls`, share);
      note(
        '300 %: rejections held back, of the calls',
        over.grown('vitserve_held_rejections_total') / over.grown('vitserve_requests_total'),
      );
      note('300 %: health, p99, ms', percentile(health, 0.99));
      note(
        '300 %: event-loop delay of the front, p99, ms',
        total(over.after, 'nodejs_eventloop_lag_p99_seconds') * 1000,
      );
    }
  });
  console.log(`\narrivals, medians of ${rounds} rounds; deadline at 300 %: ${timeoutMs} ms\n`);
  const table = new Table('', '');
  for (const [name, values] of rows) table.row(name, median(values).toPrecision(3));
}

async function capacityOf({ images, settings, seconds }: Overload): Promise<number> {
  const load = { kind: 'closed', callers: CAPACITY_CALLERS } as const;
  const permits = 2 * CAPACITY_CALLERS;
  return await withServer({ ...settings, permits }, async (server) => {
    const run = await underLoad(server, images, load, { seconds, bare: true, warmUpSeconds: 2 });
    return run.goodputPerSecond;
  });
}

interface Storm {
  readonly callers: number;
  readonly permits: number;
  /** A second. */
  readonly answered: number;
  readonly rejected: number;
  /** How long patient callers waited for a rejection. */
  readonly rejectedAfterMs: readonly number[];
}

async function storm(
  server: BenchServer,
  { images, seconds }: Overload,
  callers: number,
): Promise<Storm> {
  const { address } = server;
  const messages = encoded(images);
  const targets = Array.from(
    { length: callers + PATIENT_CALLERS },
    () => new BareTarget({ address, messages, timeoutMs: 60_000 }),
  );
  let [answered, rejected, running] = [0, 0, true];
  const rejectedAfterMs: number[] = [];
  const call = async (target: BareTarget, isPatient: boolean) => {
    while (running) {
      const startedAt = performance.now();
      const { code } = await target.send();
      if (code === 'OK') answered++;
      else if (code !== 'NOT_OK') break;
      else {
        rejected++;
        if (!isPatient) continue;
        rejectedAfterMs.push(performance.now() - startedAt);
        await sleep(PATIENCE_MS);
      }
    }
  };
  const all = targets.map((target, index) => call(target, index >= callers));
  await sleep(STORM_WARM_UP_SECONDS * 1000);
  [answered, rejected] = [0, 0];
  rejectedAfterMs.length = 0;
  const startedAt = performance.now();
  await sleep(seconds * 1000);
  const elapsed = (performance.now() - startedAt) / 1000;
  const found = { answered: answered / elapsed, rejected: rejected / elapsed };
  running = false;
  for (const target of targets) target.close();
  await Promise.all(all);
  const permits = total(await server.metrics(), 'vitserve_permits_limit');
  return { callers, permits, ...found, rejectedAfterMs };
}

async function storms(
  overload: Overload,
  callers: readonly number[],
  permits: string,
): Promise<void> {
  const found: Storm[] = [];
  const capacities = [await capacityOf(overload)];
  await withServer({ ...overload.settings, permits }, async (server) => {
    for (const count of callers) {
      found.push(await storm(server, overload, count));
      // Until the calls that were cancelled are worked on or gone.
      while (total(await server.metrics(), 'vitserve_permits_in_use') > 0) await sleep(100);
    }
  });
  capacities.push(await capacityOf(overload));
  const capacity = Math.max(...capacities);
  const figure = (value: number) => (Number.isNaN(value) ? '–' : value.toPrecision(3));
  console.log(`\nstorms; capacity ${capacities.map(figure).join(' and ')} images/s\n`);
  const table = new Table(
    'callers',
    'permits',
    'answered/s',
    'of the capacity',
    'rejected/s',
    'patient callers: rejections, p50, p95, most, ms',
  );
  for (const { callers, permits, answered, rejected, rejectedAfterMs } of found) {
    const waits = [0.5, 0.95, 1].map((share) => figure(percentile(rejectedAfterMs, share)));
    table.row(
      callers,
      permits,
      figure(answered),
      (answered / capacity).toFixed(2),
      rejected.toFixed(0),
      [rejectedAfterMs.length, ...waits].join(', '),
    );
  }
}

export default bench({
  about: 'arrivals at 70 and 300 % of the capacity; callers that call again at once',
  options: {
    only: text('arrivals, storms or both', 'both'),
    seconds: seconds(8),
    rounds: rounds(3),
    timeout: number('of arrivals at 300 %, ms', 1000),
    callers: numbers('of the storms', '16,64'),
    permits: text('of the server in the storms', 'auto'),
    repository: repository(),
    photos: photos(),
  },
  async run({ only, seconds, repository, ...given }) {
    const images = await photosOf(given.photos);
    console.log(`${described(images)}, ${seconds} s each`);
    const overload: Overload = { images, settings: { repository }, seconds };
    if (only !== 'storms') await arrivals(overload, given.rounds, given.timeout);
    if (only !== 'arrivals') await storms(overload, given.callers, given.permits);
  },
});
