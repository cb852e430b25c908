/**
 * `vitserve import FOLDER|FILE`: imports an ONNX model from another exporter into the model
 * repository.
 *
 * read → recognise → prepare → write beside → compare with the original → put in place. If a step
 * fails, nothing is left behind. Takes seconds for a small model and a minute for a large one, and
 * the memory of about four copies of the weights.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImportSettings } from '../../cli/import-options.js';
import { loadImportSettings } from '../../cli/load.js';
import { SetupError } from '../../errors.js';
import type { GraphView } from '../../models/sources/graph-view.js';
import { type RecognizedModel, recognizeModel } from '../../models/sources/recognize.js';
import { suitedProvider } from '../../models/sources/suited-provider.js';
import { checkGraph } from '../../onnx/graph/check.js';
import { viewGraph } from '../../onnx/graph/graph-view.js';
import { readModel, writeModel } from '../../onnx/proto/files.js';
import type { ModelProto } from '../../onnx/proto/model-proto.js';
import { GRAPH_FILE, graphEntry } from '../graph-entry.js';
import { picturePixels, randomPixels } from './check-pixels.js';
import { importedManifest, operatorSetsOf, producerOf } from './imported-manifest.js';
import { beginVersion, type NewVersion } from './model-folder.js';
import { readLabels, readSource, type Source } from './read-source.js';
import {
  batchInvariance,
  type Comparison,
  checkClassCount,
  compareWithOriginal,
  openOriginal,
  openServed,
  sensitivityOf,
} from './self-check.js';
import { servingForm } from './serving-form.js';
import { type Findings, small, summarize } from './summary.js';

const RANDOM_IMAGES = 8;
/**
 * Of probabilities: against the original, and for an image alone against the same image in a batch.
 */
const TOLERANCE = {
  float32: { original: 1e-3, batch: 0 },
  float16: { original: 5e-3, batch: 5e-3 },
} as const;

export async function importModel(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  version: string,
): Promise<number> {
  const { settings, source: path } = loadImportSettings(argv, environment);
  const [source, labels] = await Promise.all([
    readSource(path, settings.variant),
    readLabels(settings.labels),
  ]);
  const { graphPath } = source;
  const model = await readModel(graphPath);
  refuse(graphPath, checkGraph(model));
  const graph = viewGraph(model);
  const recognized = recognizeModel(graph, source.evidence, { ...settings, labels });
  if ('problems' in recognized) throw prefixed(graphPath, recognized.problems);

  const target = await beginVersion(
    settings.modelRepository,
    settings.name ?? source.suggestedName,
    settings.version,
  );
  try {
    const [text, place] = await build(
      { settings, source, model, graph, recognized, version },
      target,
    );
    process.stdout.write(text);
    const provider = suitedProvider(graph);
    if (provider !== null) process.stderr.write(`vitserve: ${graphPath}: ${provider.warning}\n`);
    const flags = ['--model-repository', settings.modelRepository, '--default-model', target.name];
    if (provider !== null) flags.push('--execution-provider', provider.provider);
    process.stdout.write(
      `wrote ${place}. Serve it with\n  vitserve serve ${flags.map(shellWord).join(' ')}\n`,
    );
    return 0;
  } finally {
    await target.discard();
  }
}

interface Importing {
  readonly settings: ImportSettings;
  readonly source: Source;
  readonly model: ModelProto;
  readonly graph: GraphView;
  readonly recognized: RecognizedModel;
  readonly version: string;
}

/** Writes and checks the version and puts it in place; returns the summary and the place. */
async function build(
  importing: Importing,
  target: NewVersion,
): Promise<[text: string, place: string]> {
  const { settings, source, model, graph, recognized } = importing;
  const { graphPath } = source;
  const originalBatch = batchOf(graph, recognized);
  // Before the rewriting, so that an error of onnxruntime names the user's file.
  const original = await openOriginal({ path: graphPath, recognized, fixedBatch: originalBatch });
  await checkClassCount(original);
  const form = naming(graphPath, () =>
    servingForm(model, recognized, originalBatch, settings.embedding),
  );
  const written = await writeModel(join(target.folder, GRAPH_FILE), form.model);
  const unchecked = await importedManifest(importing, form, graphEntry(written.sha256, form.model));

  const served = await openServed(written.path, unchecked);
  const random = randomPixels(RANDOM_IMAGES, unchecked.input);
  const pictures = await picturePixels(settings.checkImages, unchecked);
  const pixels = [...random, ...pictures.pixels];
  const comparison = await compareWithOriginal(original, served, pixels);
  const tolerance = TOLERANCE[graph.weightTypes.has('float16') ? 'float16' : 'float32'];
  const notes = [...form.notes, ...pictures.skipped.map((text) => `not compared: ${text}`)];
  if (!(comparison.maxDifference <= tolerance.original)) {
    const sensitivity = await sensitivityOf(original, pixels, comparison.maxDifference / 2);
    if (!isExcused(comparison, sensitivity) && !settings.force) {
      const { maxDifference, images, sameTop1 } = comparison;
      throw prefixed(graphPath, [
        `the prepared graph's probabilities differ from the original's by up to ${small(maxDifference)}, more than ${tolerance.original} (top-1 is the same in ${sameTop1} of ${images} images): give --force to keep it`,
      ]);
    }
    notes.push(
      `the original's own probabilities change by ${small(sensitivity)} if its input changes in the last bits`,
    );
  }
  await original.close();
  const manifest = {
    ...unchecked,
    batchInvariant:
      form.fixedBatch === null && (await batchInvariance(served, random, tolerance.batch)),
  };
  await writeFile(join(target.folder, 'model.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  const findings: Findings = {
    source: graphPath,
    producer: producerOf(model),
    opset: operatorSetsOf(model),
    graph,
    recognized,
    form,
    manifest,
    comparison,
    batchTolerance: tolerance.batch,
  };
  return [
    `${target.name}, version ${target.version}\n${summarize(findings)}${notesText(notes)}`,
    await target.publish(),
  ];
}

function notesText(notes: readonly string[]): string {
  return notes.map((note) => `  note: ${note}\n`).join('');
}

/**
 * The original's own uncertainty is as large as this difference: its precision is responsible and
 * not the rewriting.
 */
function isExcused({ maxDifference, images, sameTop1 }: Comparison, sensitivity: number): boolean {
  return maxDifference <= 2 * sensitivity && sameTop1 === images;
}

function batchOf(graph: GraphView, { input }: RecognizedModel): number | null {
  const size = graph.inputs.find(({ name }) => name === input.name)?.dims?.[0];
  return typeof size === 'number' && size > 0 ? size : null;
}

function prefixed(path: string, problems: readonly string[]): SetupError {
  return new SetupError(
    'usage',
    problems.map((problem) => `${path}: ${problem}`),
  );
}

function refuse(path: string, problems: readonly string[]): void {
  if (problems.length > 0) throw prefixed(path, problems);
}

/** Names the file in the problems of a graph. */
function naming<Value>(path: string, make: () => Value): Value {
  try {
    return make();
  } catch (error) {
    throw error instanceof SetupError ? prefixed(path, error.problems) : error;
  }
}

function shellWord(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
