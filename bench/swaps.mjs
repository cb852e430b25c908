// Versions swapped under load: what callers notice, and whether the memory of the process tree
// grows.
//
//   node bench/swaps.mjs [swaps] [callers]        default: 20 swaps, 8 callers
//
// Each swap copies the default model to the next version number and sends SIGHUP; the next one
// begins when the old version has been retired. Memory is the proportional set size (PSS) of the
// front and its children, so that what they share counts once, and the median of a few readings
// after every swap. The figure is the growth from after the second swap to after the last.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VitserveClient } from '../dist/client/client.js';
import { pictures } from './pictures.mjs';
import { median, startServer } from './server.mjs';

const READINGS = 9;
const FIRST_READING = 2;

const swaps = Number(process.argv[2] ?? 20);
const callers = Number(process.argv[3] ?? 8);
const model = fileURLToPath(new URL('../models/vit-cifar10', import.meta.url));
const newest = readdirSync(model).sort((a, b) => Number(b) - Number(a))[0];
const repository = mkdtempSync(join(tmpdir(), 'vitserve-swaps-'));

function put(version) {
  const beginning = join(repository, `.${version}`);
  cpSync(join(model, newest), beginning, { recursive: true });
  mkdirSync(join(repository, 'vit'), { recursive: true });
  renameSync(beginning, join(repository, 'vit', String(version)));
}

function treeOf(pid) {
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(pid);
      } catch {
        return false;
      }
    });
  return [String(pid), ...children];
}

/** MiB of every process of the tree. */
function memoryOf(pid) {
  return treeOf(pid).map((each) => {
    const rollup = readFileSync(`/proc/${each}/smaps_rollup`, 'utf8');
    return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)[1]) / 1024;
  });
}

/** Medians of a few readings: all processes, and the front alone. */
async function readMemory(pid) {
  const readings = [];
  for (let at = 0; at < READINGS; at++) {
    readings.push(memoryOf(pid));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const total = median(readings.map((each) => each.reduce((sum, one) => sum + one, 0)));
  return {
    total,
    front: median(readings.map(([front]) => front)),
    processes: readings.at(-1).length,
  };
}

put(1);
const server = await startServer(['--model-repository', repository, '--execution-provider', 'cpu']);
const client = new VitserveClient(server.address, { retries: false });
try {
  const images = await pictures([]);
  const answered = new Map();
  const errors = new Map();
  const latencies = [];
  let going = true;
  const caller = async (first) => {
    for (let at = first; going; at++) {
      const sentAt = performance.now();
      try {
        const { model: by } = await client.classify({ image: images[at % images.length] });
        answered.set(by.version, (answered.get(by.version) ?? 0) + 1);
        latencies.push(performance.now() - sentAt);
      } catch (error) {
        errors.set(error.reason || error.code, (errors.get(error.reason || error.code) ?? 0) + 1);
      }
    }
  };
  const load = Promise.all(Array.from({ length: callers }, (_, at) => caller(at)));

  const memory = new Map();
  const swapMs = [];
  for (let swap = 1; swap <= swaps; swap++) {
    const version = swap + 1;
    put(version);
    const startedAt = performance.now();
    process.kill(server.pid, 'SIGHUP');
    await server.logged('model served', ({ model: served }) => served === `vit/${version}`);
    swapMs.push(performance.now() - startedAt);
    await server.logged('model retired', ({ model: retired }) => retired === `vit/${version - 1}`);
    memory.set(swap, await readMemory(server.pid));
    const { total, front, processes } = memory.get(swap);
    console.log(
      `swap ${swap}: ${processes} processes, ${total.toFixed(1)} MiB, front ${front.toFixed(1)} MiB`,
    );
  }
  going = false;
  await load;

  latencies.sort((a, b) => a - b);
  const before = memory.get(Math.min(FIRST_READING, swaps));
  const after = memory.get(swaps);
  const growth = (part) => `${((after[part] / before[part] - 1) * 100).toFixed(1)} %`;
  console.log({
    swaps,
    callers,
    answered: [...answered.values()].reduce((sum, count) => sum + count, 0),
    versionsThatAnswered: answered.size,
    errors: Object.fromEntries(errors),
    p50Ms: Math.round(latencies[Math.floor(latencies.length / 2)]),
    p99Ms: Math.round(latencies[Math.floor(latencies.length * 0.99)]),
    medianSwapMs: Math.round(median(swapMs)),
    processes: [before.processes, after.processes],
    treeMiB: [Math.round(before.total), Math.round(after.total)],
    treeGrowth: growth('total'),
    frontGrowth: growth('front'),
  });
} finally {
  client.close();
  await server.stop();
  rmSync(repository, { recursive: true });
}
