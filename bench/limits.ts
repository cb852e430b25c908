/**
 * The limit of this machine, and vitserve, in one run.
 *
 * For each model: (a) onnxruntime-node in a bare loop, over processes × threads × batch; (b) our
 * decoder in a bare loop; (c) both in one loop, in as many processes as there are cores, and what
 * their CPU times would make; (d) the service over gRPC on the same photos, once with callers that
 * cost little and once with a client library's, who share the machine; (e) where tools/.venv has
 * them, Pillow and onnxruntime in a bare Python loop, with the graph that a Python program would
 * have (timm's export, quantized by onnxruntime, normalised for in numpy; with 8 bits and with 7)
 * and with ours. They take turns; printed are medians, and medians of the ratios within a round. On
 * a machine that does other work only the ratios mean something.
 *
 * Models are made by `convert` and `quantize` with random weights.
 */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { availableCores } from '#vitserve/system/cores.js';
import { quantPrecision } from '#vitserve/workers/inference/integer-precision.js';
import type { LoopAnswer, LoopQuestion, LoopSpec } from './children/bare-loop.js';
import { bench, builds, flag, number, optional, photos } from './lib/bench.js';
import { ownChild, startChildren } from './lib/children.js';
import { listed, median, medians, sum, Table } from './lib/figures.js';
import { underLoad } from './lib/load.js';
import { pythonWith, ROOT } from './lib/machine.js';
import { described, photosFolder, photosOf } from './lib/pictures.js';
import { type RandomModel, randomModel } from './lib/random-models.js';
import { withScratch } from './lib/scratch.js';
import { namedBuilds, startServer } from './lib/server.js';

interface Result {
  readonly imagesPerSecond: number;
  readonly cpuMs: Readonly<Record<string, number>>;
}

type Candidates = Map<string, (seconds: number) => Promise<Result>>;

interface Comparison {
  readonly model: RandomModel;
  readonly folder: string;
  readonly images: readonly Buffer[];
  readonly python: string | null;
  readonly callers: number;
  readonly quick: boolean;
  readonly builds: readonly [name: string, build: string][];
}

const cores = availableCores();
const MEASURED = `limit, measured: ${cores} processes that decode and infer`;
const DECODING = `bare decoding, ${cores} processes`;

const bareName = (processes: number, threads: number, batch: number) =>
  `bare inference, ${processes} × ${threads} thread${threads === 1 ? '' : 's'}, batch ${batch}`;

/** Loops of children as one result. */
function together(answers: readonly LoopAnswer[], what: string): Result {
  const images = sum(answers.map((each) => each.images));
  return {
    imagesPerSecond: sum(answers.map((each) => each.images / each.seconds)),
    cpuMs: { [what]: sum(answers.map(({ cpuMs }) => cpuMs)) / images },
  };
}

/** Everything that is compared for a model, started, and how to end it all. */
async function startAll(comparison: Comparison, endings: (() => unknown)[]): Promise<Candidates> {
  const { model, folder, images, python, callers, quick, builds } = comparison;
  const candidates: Candidates = new Map();
  const loops = async (processes: number, threads: number) => {
    const spec: LoopSpec = { modelFolder: model.folder, photosFolder: folder, threads };
    const program = ownChild('bare-loop', spec);
    const children = await startChildren<string, LoopQuestion, LoopAnswer>(processes, ...program);
    endings.push(children.end);
    return (loop: LoopQuestion['loop'], batch: number) => async (seconds: number) =>
      together(await children.ask({ loop, batch, seconds }), loop);
  };
  const batches = quick ? [1] : [1, 4, 8];
  const single = await loops(cores, 1);
  for (const batch of batches) candidates.set(bareName(cores, 1, batch), single('infer', batch));
  if (cores > 1 && !quick) {
    const threaded = await loops(1, cores);
    for (const batch of batches)
      candidates.set(bareName(1, cores, batch), threaded('infer', batch));
  }
  candidates.set(DECODING, single('decode', 1));
  candidates.set(MEASURED, single('both', 1));

  for (const [name, graph] of [
    ['the graph as Python exports it', model.usualGraph],
    ['the same with weights of 7 bits', model.usualGraph7],
    ['our graph', join(model.folder, 'model.onnx')],
  ] as const) {
    if (python === null || graph === null) continue;
    const script = join(ROOT, 'tools/reference/limit.py');
    const options = { graph, photos: folder, 'quant-precision': quantPrecision() };
    const argv = Object.entries(options).flatMap(([option, value]) => [`--${option}`, value]);
    const children = await startChildren<string, { seconds: number }, LoopAnswer>(cores, python, [
      script,
      ...argv,
    ]);
    endings.push(children.end);
    candidates.set(`Python limit, ${name}`, async (seconds) =>
      together(await children.ask({ seconds }), 'all'),
    );
  }

  for (const [name, build] of builds) {
    const { repository } = model;
    // Permits for all callers: on a machine that is slow to start `auto` might reject some.
    const server = await startServer({ build, repository, permits: 2 * callers });
    endings.push(server.stop);
    for (const bare of [true, false]) {
      candidates.set(servedName(name, bare), async (seconds) => {
        const load = { kind: 'closed', callers } as const;
        const { goodputPerSecond, cpuMs, errors } = await underLoad(server, images, load, {
          seconds,
          bare,
        });
        if (Object.keys(errors).length > 0)
          throw new Error(`calls failed: ${JSON.stringify(errors)}`);
        return { imagesPerSecond: goodputPerSecond, cpuMs: { ...cpuMs } };
      });
    }
  }
  return candidates;
}

const servedName = (build: string, bare: boolean) =>
  `served by ${build}${bare ? '' : ', callers with a client library'}`;

/** Results by name, one for each round. The round before the first is short and not counted. */
async function measureInTurns(
  candidates: Candidates,
  rounds: number,
  seconds: number,
): Promise<Map<string, Result[]>> {
  const results = new Map([...candidates.keys()].map((name): [string, Result[]] => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, measure] of candidates) {
      const result = await measure(round < 0 ? Math.min(1, seconds) : seconds);
      if (round >= 0) results.get(name)?.push(result);
    }
  }
  return results;
}

function print({ model, builds }: Comparison, results: ReadonlyMap<string, Result[]>): void {
  const of = (name: string) => results.get(name) ?? [];
  const rate = (of: readonly Result[]) => median(of.map((each) => each.imagesPerSecond));
  const cpu = (of: readonly Result[]) => medians(of.map(({ cpuMs }) => cpuMs));

  const infer = of(bareName(cores, 1, 1));
  const computed = of(DECODING).map(({ cpuMs }, round): Result => {
    const spent = { decode: cpuMs.decode ?? NaN, infer: infer[round]?.cpuMs.infer ?? NaN };
    return { imagesPerSecond: (1000 * cores) / (spent.decode + spent.infer), cpuMs: spent };
  });
  const lines = [...results];
  const at = lines.findIndex(([name]) => name === MEASURED);
  lines.splice(at, 0, [`limit, computed: ${cores} cores / (decode + infer)`, computed]);

  console.log(`\n## ${model.title}\n`);
  const table = new Table(
    '',
    'images/s',
    'CPU-ms an image',
    ...builds.map(([name]) => `served by ${name} / this`),
  );
  for (const [label, each] of lines) {
    const ratios = builds.map(([name]) => {
      const served = of(servedName(name, true));
      const ratio = median(
        served.map((one, round) => one.imagesPerSecond / (each[round]?.imagesPerSecond ?? NaN)),
      );
      return ratio.toFixed(3);
    });
    table.row(label, rate(each).toFixed(rate(each) < 100 ? 1 : 0), listed(cpu(each)), ...ratios);
  }
  const [best] = [...results]
    .filter(([label]) => label.startsWith('bare inference'))
    .sort(([, one], [, other]) => rate(other) - rate(one));
  // The loops want every core all the time, so what they did not get others had.
  const got = median(
    of(MEASURED).map((each) => (each.imagesPerSecond * (each.cpuMs.both ?? NaN)) / 1000),
  );
  if (got < 0.95 * cores)
    console.log(
      `\nOther programs were at work: the loops got ${got.toFixed(2)} of ${cores} cores.`,
    );
  console.log(`\nBest bare inference: ${best?.[0].replace('bare inference, ', '')}.`);
}

export default bench({
  about: 'the limit of the machine for a model, what is served of it, and what Python does',
  options: {
    seconds: optional('of each measurement (5; 1 with --quick)'),
    rounds: optional('in turns; medians are printed (5; 1 with --quick)'),
    photos: photos(),
    models: optional('of toy, ti, b, ti8, b8 (toy,ti,b; toy,ti with --quick)'),
    callers: number('of the server', 32),
    keep: optional('a folder in which models stay, for the next run'),
    quick: flag('fewer batches, short: to see that it runs'),
    build: builds(),
  },
  async run({ quick, callers, ...given }) {
    const [seconds, rounds] = [given.seconds, given.rounds].map((text) =>
      Number(text ?? (quick ? 1 : 5)),
    ) as [number, number];
    await withScratch(async (scratch) => {
      const home = given.keep === null ? scratch : resolve(given.keep);
      mkdirSync(home, { recursive: true });
      const folder = await photosFolder(given.photos, scratch);
      const images = await photosOf(folder);
      const python = pythonWith(['onnxruntime', 'numpy', 'PIL']);
      const without = python === null ? '; no Python with onnxruntime and Pillow' : '';
      console.log(
        `${described(images)}, ${callers} callers; ${rounds} rounds of ${seconds} s, medians${without}`,
      );
      const models = given.models ?? (quick ? 'toy,ti' : 'toy,ti,b');
      for (const name of models.split(',')) {
        const model = await randomModel(name, home);
        const builds = namedBuilds(given.build);
        const comparison: Comparison = { model, folder, images, python, callers, quick, builds };
        const endings: (() => unknown)[] = [];
        try {
          const candidates = await startAll(comparison, endings);
          print(comparison, await measureInTurns(candidates, rounds, seconds));
        } finally {
          await Promise.all(endings.map((end) => end()));
        }
      }
    });
  },
});
