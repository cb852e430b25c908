/**
 * `vitserve quantize MODEL_FOLDER`: makes a smaller, faster version of a model and says what that
 * costs.
 *
 * read → rewrite → write beside → compare with the source → put in place. If a step fails, nothing
 * is left behind. Both graphs run in this process, on one thread, in turns; float16 on CUDA if
 * available. Takes seconds for a small model and half a minute for ViT-B, and memory for about four
 * copies of the weights.
 */
import { existsSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { loadQuantizeSettings } from '../../cli/load.js';
import type { QuantizeSettings } from '../../cli/quantize-options.js';
import { systemClock } from '../../clock.js';
import { SetupError } from '../../errors.js';
import type { Manifest } from '../../models/manifest.js';
import { loadModelFolder, type Model } from '../../models/repository.js';
import { checkGraph } from '../../onnx/graph/check.js';
import { quantizeToInt8 } from '../../onnx/passes/quantize.js';
import { convertToFloat16 } from '../../onnx/passes/to-float16.js';
import { readModel, writeModel } from '../../onnx/proto/files.js';
import type { ModelProto } from '../../onnx/proto/model-proto.js';
import { compareAnswers, compareSpeed } from '../../workers/inference/compare-sessions.js';
import { loadOnnxSession } from '../../workers/inference/onnx-session.js';
import { GRAPH_FILE, graphEntry } from '../graph-entry.js';
import { randomPixels } from '../import/check-pixels.js';
import { beginVersion, type NewVersion } from '../import/model-folder.js';
import { picturesIn, preparePictures } from './pictures.js';

const SPEED_BUDGET_MS = 5_000;
const RANDOM_IMAGES = 16;

export async function quantize(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  version: string,
): Promise<number> {
  const { settings, folder } = loadQuantizeSettings(argv, environment);
  const source = await loadModelFolder(folder);
  const pictures = settings.images === null ? null : await picturesIn(settings.images);
  const target = await beginTarget(settings.out, source);
  try {
    const [graph, notes] = rewrite(await readModel(source.graphPath), source, settings);
    const written = await writeModel(join(target.folder, GRAPH_FILE), graph);
    const manifest = manifestOf(source, settings, graphEntry(written.sha256, graph), version);
    await writeFile(join(target.folder, 'model.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    const report = await compare(source, { graphPath: written.path, manifest }, settings, pictures);
    const bytes = written.bytes + (written.externalData?.bytes ?? 0);
    const sourceBytes = await bytesOf(source.graphPath);
    const lines = [
      ['size', `${megabytes(sourceBytes)} → ${megabytes(bytes)} MB`],
      ...notes,
      ...report,
    ];
    const place = await target.publish();
    process.stdout.write(
      `${source.name}/${source.version} as ${settings.dtype}\n${lines.map(lineOf).join('')}`,
    );
    process.stdout.write(`wrote ${place}\n`);
    return 0;
  } finally {
    await target.discard();
  }
}

async function beginTarget(out: string | null, source: Model): Promise<NewVersion> {
  if (out === null) {
    const home = dirname(dirname(source.graphPath));
    return await beginVersion(dirname(home), basename(home), 'auto');
  }
  if (!/^[1-9]\d{0,8}$/.test(basename(out))) {
    throw new SetupError('usage', [
      `--out ${out} does not end with a version, which is a whole number: give MODEL/1, for example`,
    ]);
  }
  if (existsSync(out)) {
    throw new SetupError('usage', [`--out ${out} exists: give another folder`]);
  }
  return await beginVersion(dirname(dirname(out)), basename(dirname(out)), Number(basename(out)));
}

type Line = readonly [name: string, text: string];

function rewrite(
  graph: ModelProto,
  { graphPath }: Model,
  settings: QuantizeSettings,
): [ModelProto, Line[]] {
  try {
    const [model, lines] = settings.dtype === 'int8' ? toInt8(graph, settings) : toFloat16(graph);
    const problems = checkGraph(model);
    if (problems.length > 0) throw new SetupError('environment', problems);
    return [model, lines];
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    const problems = error.problems.map((problem) => `${graphPath}: ${problem}`);
    throw new SetupError(error.kind, problems, { cause: error });
  }
}

function toInt8(graph: ModelProto, { head, weightBits }: QuantizeSettings): [ModelProto, Line[]] {
  const { model, products, weights, kept } = quantizeToInt8(graph, {
    head,
    bits: weightBits === '8' ? 8 : 7,
  });
  const found = `${products} matrix products, ${(weights / 1e6).toFixed(2)} million weights of ${weightBits} bits`;
  const lines: Line[] = [['int8', found]];
  return [model, [...lines, ...keptLines(kept)]];
}

function toFloat16(graph: ModelProto): [ModelProto, Line[]] {
  const { model, halved, kept } = convertToFloat16(graph);
  return [model, [['float16', `${halved} nodes`], ...keptLines(kept)]];
}

function keptLines(kept: readonly string[]): Line[] {
  return kept.map((text) => ['float32', text]);
}

function manifestOf(
  source: Model,
  { dtype, weightBits }: QuantizeSettings,
  graph: Manifest['graph'],
  version: string,
): Manifest {
  const { manifest } = source;
  const form =
    dtype === 'int8'
      ? `int8 weights of ${weightBits} bits, activations quantized as it runs`
      : 'float16';
  return {
    ...manifest,
    description: `${manifest.description.replace(/\.$/, '')} (${form}).`,
    provenance: {
      ...manifest.provenance,
      quantizedFrom: `${source.name}/${source.version}`,
      quantizedFromSha256: manifest.graph.sha256,
      quantizedBy: `vitserve ${version}, ${dtype}`,
    },
    graph,
    // The activations of a whole batch have one scale, so an image's answer would depend on the
    // other images in it. In float16 the CPU's kernels round differently by batch.
    batchInvariant: dtype === 'float16' && manifest.batchInvariant ? 'accelerator' : false,
  };
}

async function compare(
  source: Model,
  result: Pick<Model, 'graphPath' | 'manifest'>,
  { dtype }: QuantizeSettings,
  pictures: readonly string[] | null,
): Promise<Line[]> {
  const provider = dtype === 'int8' ? 'cpu' : 'auto';
  const open = async ({ graphPath, manifest }: Pick<Model, 'graphPath' | 'manifest'>) =>
    (await loadOnnxSession({ graphPath, manifest, provider, threads: 1 })).session;
  const [before, after] = [await open(source), await open(result)];
  const random = randomPixels(RANDOM_IMAGES, source.manifest.input);
  const lines: Line[] = [];
  const ran = after.executionProvider;
  if (dtype === 'float16' && ran === 'cpu') {
    lines.push(['speed', 'not measured, because CUDA is not available and float16 is for CUDA']);
  } else {
    const { beforeMs, afterMs, ratio, turns } = await compareSpeed(
      before,
      after,
      random[0] as Uint8Array,
      {
        budgetMs: SPEED_BUDGET_MS,
        clock: systemClock,
      },
    );
    const times = `${milliseconds(beforeMs)} → ${milliseconds(afterMs)} ms per image`;
    lines.push([
      'speed',
      `${ratio.toFixed(2)} times as fast on ${ran} (${times}, one thread, medians of ${turns})`,
    ]);
  }
  const skipped: string[] = [];
  const images = pictures === null ? random : preparePictures(pictures, source.manifest, skipped);
  const { images: count, sameTop1, maxDifference } = await compareAnswers(before, after, images);
  const kind = pictures === null ? 'random images' : 'images';
  lines.push(['answers', `same class first in ${sameTop1} of ${count} ${kind}`]);
  lines.push(['', `probabilities differ by at most ${Number(maxDifference.toPrecision(2))}`]);
  return [...lines, ...skipped.map((text): Line => ['skipped', text])];
}

/** Of the graph and of the file of weights beside it, if there is one. */
async function bytesOf(graphPath: string): Promise<number> {
  const data = await stat(`${graphPath}.data`).catch(() => null);
  return (await stat(graphPath)).size + (data?.size ?? 0);
}

function lineOf([name, text]: readonly string[]): string {
  return `  ${(name ?? '').padEnd(9)} ${text}\n`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 10e6 ? 2 : 1);
}

function milliseconds(value: number): string {
  return value.toFixed(value < 10 ? 2 : 1);
}
