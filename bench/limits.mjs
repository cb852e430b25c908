/**
 * The limit of this machine, and vitserve, in one run.
 *
 *   npm run build && node bench/limits.mjs [--photos FOLDER] [--models toy,ti,b,ti8,b8] [--keep FOLDER] [--rounds 5] [--seconds 5]
 *                                          [--callers 32] [--quick]
 *
 * For each model: (a) onnxruntime-node in a bare loop, over processes × threads × batch; (b) our
 * decoder in a bare loop; (c) both in one loop, in as many processes as there are cores, and what
 * their CPU times would make; (d) the service over gRPC on the same photos, once with callers that
 * cost little and once with a client library's, who share the machine; (e) where tools/.venv has
 * them, Pillow and onnxruntime in a bare Python loop, with the graph that a Python program would
 * have (timm's export, quantized by onnxruntime, normalised for in numpy; with 8 bits and with 7)
 * and with ours. They take turns, ROUNDS times; printed are medians, and medians of the ratios
 * within a round. On a machine that does other work only the ratios mean something.
 *
 * FOLDER has JPEG photos (../shared/data/photos if it is there, else pictures are drawn). Models
 * are made by `convert` and `quantize` with random weights, in a temporary folder or in the one
 * that --keep names, where the next run finds them. --quick: one short round with the toy graph and
 * ViT-Ti, to see that it runs.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { availableCores } from '../dist/system/cores.js';
import { quantPrecision } from '../dist/workers/inference/integer-precision.js';
import { pythonWith, startChildren } from './children.mjs';
import { LIMIT_MODELS, limitModel } from './limit-models.mjs';
import { jpegsIn, PHOTOS, pictures } from './pictures.mjs';
import { cpuText, median, startServer, underLoad } from './server.mjs';

const { values: given } = parseArgs({
  options: {
    photos: { type: 'string' },
    models: { type: 'string' },
    keep: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    callers: { type: 'string', default: '32' },
    quick: { type: 'boolean', default: false },
  },
});
const rounds = Number(given.rounds ?? (given.quick ? 1 : 5));
const seconds = Number(given.seconds ?? (given.quick ? 1 : 5));
const callers = Number(given.callers);
const models = (given.models ?? (given.quick ? 'toy,ti' : 'toy,ti,b')).split(',');
const unknown = models.filter((name) => !(name in LIMIT_MODELS));
if (unknown.length > 0)
  throw new Error(`no model ${unknown}: there are ${Object.keys(LIMIT_MODELS)}`);
const cores = availableCores();
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

const SERVED = `served, ${callers} callers`;
const SERVED_CLIENTS = `served, ${callers} callers with a client library`;
const MEASURED = `limit, measured: ${cores} processes that decode and infer`;
const DECODING = `bare decoding, ${cores} processes`;
const USUAL = 'Python limit, the graph as Python exports it';
const USUAL_7 = 'Python limit, the same with weights of 7 bits';
const OURS = 'Python limit, our graph';

/** @typedef {{ imagesPerSecond: number, cpuMs: Record<string, number> }} Result */

/** Loops of children as one result. */
function together(answers, what) {
  const images = answers.reduce((sum, each) => sum + each.images, 0);
  return {
    imagesPerSecond: answers.reduce((sum, each) => sum + each.images / each.seconds, 0),
    cpuMs: { [what]: answers.reduce((sum, each) => sum + each.cpuMs, 0) / images },
  };
}

/**
 * Everything that is compared for a model, started: what to call it, how to measure it once, and
 * how to end it all.
 */
async function candidates(model, photosFolder, images, python) {
  const contest = new Map();
  const endings = [];
  const loops = async (processes, threads) => {
    const spec = JSON.stringify({ modelFolder: model.folder, photosFolder, threads });
    const children = await startChildren(processes, process.execPath, [
      path('limit-child.mjs'),
      spec,
    ]);
    endings.push(children.end);
    return (loop, batch) => async (time) =>
      together(await children.ask({ loop, batch, seconds: time }), loop);
  };
  const batches = given.quick ? [1] : [1, 4, 8];
  const single = await loops(cores, 1);
  for (const batch of batches) contest.set(bareName(cores, 1, batch), single('infer', batch));
  if (cores > 1 && !given.quick) {
    const threaded = await loops(1, cores);
    for (const batch of batches) contest.set(bareName(1, cores, batch), threaded('infer', batch));
  }
  contest.set(DECODING, single('decode', 1));
  contest.set(MEASURED, single('both', 1));

  for (const [name, graph] of [
    [USUAL, model.usualGraph],
    [USUAL_7, model.usualGraph7],
    [OURS, join(model.folder, 'model.onnx')],
  ]) {
    if (python === null || graph === null) continue;
    const args = [
      '--graph',
      graph,
      '--photos',
      photosFolder,
      '--quant-precision',
      quantPrecision(),
    ];
    const children = await startChildren(cores, python, [
      path('../tools/reference/limit.py'),
      ...args,
    ]);
    endings.push(children.end);
    contest.set(name, async (time) => together(await children.ask({ seconds: time }), 'all'));
  }

  // Permits for all callers: on a machine that is slow to start `auto` might refuse some.
  const flags = [
    '--allow-random-weights',
    '--execution-provider',
    'cpu',
    '--permits',
    String(2 * callers),
  ];
  const server = await startServer(['--model-repository', model.repository, ...flags]);
  endings.push(() => server.stop());
  for (const [name, bare] of [
    [SERVED, true],
    [SERVED_CLIENTS, false],
  ]) {
    contest.set(name, async (time) => {
      const run = await underLoad(
        server,
        images,
        { kind: 'closed', callers },
        { seconds: time, bare },
      );
      if (Object.keys(run.errors).length > 0)
        throw new Error(`calls failed: ${JSON.stringify(run.errors)}`);
      return { imagesPerSecond: run.goodputPerSecond, cpuMs: run.cpuMs };
    });
  }
  return { contest, end: () => Promise.all(endings.map((end) => end())) };
}

function bareName(processes, threads, batch) {
  return `bare inference, ${processes} × ${threads} thread${threads === 1 ? '' : 's'}, batch ${batch}`;
}

/** Results by name, one for each round. The round before the first is short and not counted. */
async function measureInTurns(contest) {
  const results = new Map([...contest.keys()].map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, measure] of contest) {
      const result = await measure(round < 0 ? Math.min(1, seconds) : seconds);
      if (round >= 0) results.get(name).push(result);
    }
  }
  return results;
}

/** CPU-ms by who spent it: medians over rounds. */
function medianCpu(of) {
  return Object.fromEntries(
    Object.keys(of[0].cpuMs).map((who) => [who, median(of.map(({ cpuMs }) => cpuMs[who]))]),
  );
}

function print(model, results) {
  const served = results.get(SERVED);
  const rate = (of) => median(of.map(({ imagesPerSecond }) => imagesPerSecond));
  const ratio = (of) =>
    median(served.map(({ imagesPerSecond }, round) => imagesPerSecond / of[round].imagesPerSecond));
  const lines = [...results].map(([name, of]) => [
    name,
    rate(of),
    cpuText(medianCpu(of)),
    ratio(of),
  ]);

  const decode = results.get(DECODING);
  const infer = results.get(bareName(cores, 1, 1));
  const computed = decode.map(({ cpuMs }, round) => ({
    imagesPerSecond: (1000 * cores) / (cpuMs.decode + infer[round].cpuMs.infer),
    cpuMs: { decode: cpuMs.decode, infer: infer[round].cpuMs.infer },
  }));
  const at = lines.findIndex(([name]) => name === MEASURED);
  const name = `limit, computed: ${cores} cores / (decode + infer)`;
  lines.splice(at, 0, [name, rate(computed), cpuText(medianCpu(computed)), ratio(computed)]);

  console.log(
    `\n## ${model.title}\n\n| | images/s | CPU-ms an image | served / this |\n|---|---|---|---|`,
  );
  for (const [label, perSecond, cpu, share] of lines) {
    console.log(
      `| ${label} | ${perSecond.toFixed(perSecond < 100 ? 1 : 0)} | ${cpu} | ${share.toFixed(3)} |`,
    );
  }
  const best = [...results]
    .filter(([label]) => label.startsWith('bare inference'))
    .sort(([, a], [, b]) => rate(b) - rate(a));
  // The loops want every core all the time, so what they did not get others had.
  const got = median(
    results
      .get(MEASURED)
      .map(({ imagesPerSecond, cpuMs }) => (imagesPerSecond * cpuMs.both) / 1000),
  );
  if (got < 0.95 * cores)
    console.log(
      `\nOther programs were at work: the loops got ${got.toFixed(2)} of ${cores} cores.`,
    );
  console.log(`\nBest bare inference: ${best[0][0].replace('bare inference, ', '')}.`);
}

const scratch = mkdtempSync(join(tmpdir(), 'vitserve-limits-'));
try {
  const home = given.keep === undefined ? scratch : resolve(given.keep);
  mkdirSync(home, { recursive: true });
  let photosFolder = given.photos ?? PHOTOS;
  if (given.photos === undefined && !existsSync(PHOTOS)) {
    photosFolder = join(scratch, 'drawn');
    mkdirSync(photosFolder);
    for (const [index, image] of (await pictures([])).entries())
      writeFileSync(join(photosFolder, `${index}.jpg`), image);
  }
  const images = await pictures(jpegsIn(photosFolder));
  const kilobytes = images.reduce((sum, { length }) => sum + length, 0) / images.length / 1000;
  const python = pythonWith(['onnxruntime', 'numpy', 'PIL']);
  console.log(
    `${images.length} photos of ${kilobytes.toFixed(0)} kB, ${cores} cores, Node.js ${process.version.slice(1)}`,
  );
  console.log(
    `${rounds} rounds of ${seconds} s, medians${python === null ? '; no Python with onnxruntime and Pillow' : ''}`,
  );
  for (const name of models) {
    const model = await limitModel(name, home);
    const { contest, end } = await candidates(model, photosFolder, images, python);
    try {
      print(model, await measureInTurns(contest));
    } finally {
      await end();
    }
  }
} finally {
  rmSync(scratch, { recursive: true });
}
