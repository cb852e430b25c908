/**
 * What a server takes when nothing happens and when much does, and what a second inference process
 * gives.
 *
 *   npm run build && node bench/footprint.mjs [--model-repository REPOSITORY]… [--photos FOLDER] [--seconds 8] [--idle 20]
 *
 * For each repository (without any: the default model): memory of the whole process tree (PSS: what
 * processes share is counted once) at rest, CPU of the tree while idle, what a lone caller waits
 * beyond decoding and inference, memory under 32 callers; and images a second with one inference
 * process and with two, in turns, on a picture that costs little to decode. Callers are bare.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { jpegsIn, PHOTOS, pictures } from './pictures.mjs';
import { median, startServer, underLoad } from './server.mjs';

const { values: given } = parseArgs({
  options: {
    'model-repository': { type: 'string', multiple: true, default: [''] },
    photos: { type: 'string', default: PHOTOS },
    seconds: { type: 'string', default: '8' },
    idle: { type: 'string', default: '20' },
  },
});
const seconds = Number(given.seconds);
const photos = await pictures(jpegsIn(given.photos));
const small = await pictures([], { width: 64, height: 64 });
const TICKS_A_SECOND = 100;

/** The process and all below it. */
function treeOf(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean);
  return [pid, ...children.flatMap(treeOf)];
}

/** MiB. */
function memoryOf(pid) {
  const kilobytes = treeOf(pid).map((each) => {
    const [, pss] = /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${each}/smaps_rollup`, 'utf8'));
    return Number(pss);
  });
  return kilobytes.reduce((sum, each) => sum + each, 0) / 1024;
}

function cpuSecondsOf(pid) {
  const ticks = treeOf(pid).map((each) => {
    const fields = readFileSync(`/proc/${each}/stat`, 'utf8').split(') ')[1].split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, each) => sum + each, 0) / TICKS_A_SECOND;
}

const start = (models, ...flags) => {
  const repository = models === '' ? [] : ['--model-repository', models, '--allow-random-weights'];
  return startServer([...repository, '--execution-provider', 'cpu', ...flags]);
};

console.log(
  '| model | processes | at rest, MiB | idle, % of a core | lone caller beyond decode + inference, ms | under load, MiB |',
);
console.log('|---|---|---|---|---|---|');
for (const models of given['model-repository']) {
  const server = await start(models);
  try {
    await sleep(2000);
    const atRest = memoryOf(server.pid);
    const [before, idleMs] = [cpuSecondsOf(server.pid), Number(given.idle) * 1000];
    await sleep(idleMs);
    const idle = ((cpuSecondsOf(server.pid) - before) / idleMs) * 100_000;
    const lone = await underLoad(server, photos, { kind: 'closed', callers: 1 }, { seconds });
    const added = lone.latencyMs.p50 - lone.server.decodeMs.p50 - lone.server.inferenceMs.p50;
    await underLoad(server, photos, { kind: 'closed', callers: 32 }, { seconds, bare: true });
    const cells = [
      treeOf(server.pid).length,
      atRest.toFixed(0),
      idle.toFixed(2),
      added.toFixed(2),
      memoryOf(server.pid).toFixed(0),
    ];
    console.log(`| ${[models || 'the default model', ...cells].join(' | ')} |`);
  } finally {
    await server.stop();
  }
}

console.log('\n| model | 1 inference process, images/s | 2 | ratio |\n|---|---|---|---|');
for (const models of given['model-repository']) {
  const servers = [
    await start(models, '--inference-processes', '1'),
    await start(models, '--inference-processes', '2'),
  ];
  const rates = [[], []];
  try {
    for (let round = 0; round < 3; round++) {
      for (const [at, server] of servers.entries()) {
        const run = await underLoad(
          server,
          small,
          { kind: 'closed', callers: 8 },
          { seconds, bare: true },
        );
        rates[at].push(run.goodputPerSecond);
      }
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  const ratio = median(rates[1].map((rate, round) => rate / rates[0][round]));
  console.log(
    `| ${models || 'the default model'} | ${rates.map((rate) => median(rate).toFixed(1)).join(' | ')} | ${ratio.toFixed(2)} |`,
  );
}
