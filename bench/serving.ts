/**
 * What a server takes when nothing happens and when much does, and what callers get.
 *
 * For each repository: the time from the start of the program to SERVING; memory of the whole
 * process tree (PSS: what processes share is counted once) at rest and under 32 callers; CPU of the
 * tree while idle; what a lone caller waits beyond decoding and inference. Then throughput, latency
 * and CPU time with callers of a client library.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { memoryOf, treeOf } from '#test/support/process-tree.js';
import { cpuMsOf } from '#vitserve/system/cpu-time.js';
import { bench, number, numbers, photos, repeated, seconds } from './lib/bench.js';
import { listed, sum, Table } from './lib/figures.js';
import { underLoad } from './lib/load.js';
import { described, photosOf } from './lib/pictures.js';
import { type BenchServer, total, withServer } from './lib/server.js';

const SETTLE_MS = 2000;

interface Costs {
  readonly images: readonly Buffer[];
  readonly seconds: number;
  readonly idleSeconds: number;
}

const mebibytes = (pid: number) => (memoryOf(treeOf(pid)) ?? NaN).toFixed(0);
const cpuMs = (pid: number) => sum(treeOf(pid).map((each) => cpuMsOf(each) ?? NaN));

async function costsOf(server: BenchServer, { images, seconds, idleSeconds }: Costs) {
  await sleep(SETTLE_MS);
  const atRest = mebibytes(server.pid);
  const before = cpuMs(server.pid);
  await sleep(idleSeconds * 1000);
  const idle = (cpuMs(server.pid) - before) / (idleSeconds * 1000);
  const lone = await underLoad(server, images, { kind: 'closed', callers: 1 }, { seconds });
  const worked = (lone.server?.decodeMs.p50 ?? NaN) + (lone.server?.inferenceMs.p50 ?? NaN);
  const load = { kind: 'closed', callers: 32 } as const;
  await underLoad(server, images, load, { seconds, bare: true });
  return [
    (server.startMs / 1000).toFixed(2),
    treeOf(server.pid).length,
    atRest,
    mebibytes(server.pid),
    (idle * 100).toFixed(2),
    (lone.latencyMs.p50 - worked).toFixed(2),
  ];
}

export default bench({
  about: 'what a server takes at rest and under load, and what callers get',
  options: {
    repository: repeated('a model repository; several one after the other (the default model)'),
    photos: photos(),
    seconds: seconds(8),
    idle: number('seconds without a call', 20),
    callers: numbers('with a client library', '1,32'),
  },
  async run({ seconds, ...given }) {
    const models = given.repository.length > 0 ? given.repository : [null];
    const nameOf = (model: string | null) => model ?? 'the default model';
    const images = await photosOf(given.photos);
    console.log(`${described(images)}\n`);

    const costs = new Table(
      'model',
      'start, s',
      'processes',
      'at rest, MiB',
      'under load, MiB',
      'idle, % of a core',
      'lone caller beyond decode + inference, ms',
    );
    for (const repository of models) {
      const cells = await withServer({ repository }, (server) =>
        costsOf(server, { images, seconds, idleSeconds: given.idle }),
      );
      costs.row(nameOf(repository), ...cells);
    }

    console.log('');
    const served = new Table(
      'model',
      'callers',
      'images/s',
      'p50 / p99, ms',
      'CPU-ms an image',
      'event-loop delay of the front, p99 / max, ms',
      'images a batch',
      'errors',
    );
    for (const repository of models) {
      await withServer({ repository }, async (server) => {
        for (const callers of given.callers) {
          const run = await underLoad(
            server,
            images,
            { kind: 'closed', callers },
            {
              seconds,
              warmUpSeconds: 2,
            },
          );
          const delay = ['p99', 'max'].map((which) =>
            (total(run.after, `nodejs_eventloop_lag_${which}_seconds`) * 1000).toFixed(1),
          );
          served.row(
            nameOf(repository),
            callers,
            run.goodputPerSecond.toFixed(0),
            `${run.latencyMs.p50.toFixed(1)} / ${run.latencyMs.p99.toFixed(1)}`,
            listed({ ...run.cpuMs }),
            delay.join(' / '),
            run.meanBatch.toFixed(1),
            JSON.stringify(run.errors),
          );
        }
      });
    }
  },
});
