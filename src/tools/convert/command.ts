/**
 * `vitserve convert FOLDER|FILE`: makes a served model of a checkpoint (safetensors with
 * `config.json`), without Python.
 *
 * read → build → write beside → check the manifest → put in place; if a step fails, nothing is left
 * behind. A ViT-B takes two seconds and the memory of one and a half times its weights.
 */
import { writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { ConvertSettings } from '../../cli/convert-options.js';
import { loadConvertSettings } from '../../cli/load.js';
import { SetupError } from '../../errors.js';
import { type Manifest, parseManifest } from '../../models/manifest.js';
import { writeModel } from '../../onnx/proto/files.js';
import { gridOf } from '../../onnx/vit/architecture.js';
import { buildVisionTransformer } from '../../onnx/vit/build.js';
import { GRAPH_FILE } from '../graph-entry.js';
import { beginVersion, type NewVersion } from '../import/model-folder.js';
import { randomSource } from './random-source.js';
import { type ModelSource, readCheckpoint } from './read-checkpoint.js';

const MIB = 2 ** 20;

export async function convert(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  version: string,
): Promise<number> {
  const { settings, source } = loadConvertSettings(argv, environment);
  const { summary, notes } = await convertModel(source, settings, version);
  process.stdout.write(summary);
  for (const note of notes) process.stderr.write(`vitserve: ${note}\n`);
  return 0;
}

export interface Converted {
  /** The folder of the new version. */
  readonly place: string;
  readonly summary: string;
  readonly notes: readonly string[];
}

/**
 * `path`: the checkpoint, or null for random weights. `version`: vitserve's own. Throws SetupError.
 */
export async function convertModel(
  path: string | null,
  settings: ConvertSettings,
  version: string,
): Promise<Converted> {
  const begin = performance.now();
  const source =
    path === null
      ? randomSource(settings.random ?? '', settings)
      : await readCheckpoint(path, settings);
  try {
    const target = await beginVersion(...placeOf(settings, source));
    try {
      const bytes = await write(source, settings, target, version);
      const place = await target.publish();
      const summary = summarize(source, settings, bytes, place, performance.now() - begin);
      return { place, summary, notes: source.notes };
    } finally {
      await target.discard();
    }
  } finally {
    source.close();
  }
}

/** Repository, name and version: from `--out`, or from single options. */
function placeOf(
  { out, modelRepository, name, version }: ConvertSettings,
  { suggestedName }: ModelSource,
): Place {
  if (out === null) return [modelRepository, name ?? suggestedName, version];
  const number = basename(out);
  if (!/^[1-9]\d{0,8}$/.test(number)) {
    throw new SetupError('usage', [
      `out: ${out} does not end with a version, which is a whole number: give NAME/1, for example`,
    ]);
  }
  return [dirname(dirname(out)), basename(dirname(out)), Number(number)];
}

type Place = [repository: string, name: string, version: number | 'auto'];

/** Writes graph and manifest; returns the graph's bytes. */
async function write(
  source: ModelSource,
  settings: ConvertSettings,
  target: NewVersion,
  version: string,
): Promise<number> {
  const { transformer, recipe, labels } = source;
  const { image, hidden, output } = transformer.architecture;
  const { target: provider, dtype } = settings;
  const model = buildVisionTransformer(transformer, {
    target: provider,
    type: dtype,
    recipe,
    producerVersion: version,
  });
  const written = await writeModel(join(target.folder, GRAPH_FILE), model);
  const manifest: Manifest = {
    formatVersion: 1,
    description: settings.description ?? source.description,
    license: settings.license ?? source.license,
    provenance: {
      ...source.provenance,
      convertedBy: `vitserve ${version}`,
      target: provider,
      dtype,
    },
    graph: { file: GRAPH_FILE, sha256: written.sha256 },
    input: { name: 'pixels', layout: 'NHWC', type: 'uint8', ...image },
    output: { name: 'probabilities', kind: 'probabilities', activation: output },
    embedding: { name: 'embedding', size: hidden },
    preprocessing: {
      ...recipe,
      mean: [...recipe.mean],
      std: [...recipe.std],
      normalizedInGraph: true,
    },
    labels: [...labels],
    batchInvariant: dtype === 'float16' ? 'accelerator' : true,
  };
  const text = `${JSON.stringify(manifest, undefined, 2)}\n`;
  const parsed = parseManifest(text);
  if ('problems' in parsed)
    throw new Error(`the manifest would be rejected: ${parsed.problems.join('; ')}`);
  await writeFile(join(target.folder, 'model.json'), text);
  return written.bytes + (written.externalData?.bytes ?? 0);
}

function summarize(
  { transformer, storedBytes }: ModelSource,
  { target, dtype }: ConvertSettings,
  bytes: number,
  place: string,
  milliseconds: number,
): string {
  const { hidden, layers, heads, mlp, patch, image, classes, prefixTokens, activation } =
    transformer.architecture;
  const { rows, columns } = gridOf(transformer.architecture);
  const tokens = rows * columns + prefixTokens;
  const from = storedBytes === 0 ? '' : ` from ${Math.round(storedBytes / MIB)} MiB`;
  const peak = Math.round(process.resourceUsage().maxRSS / 1024);
  return [
    `  model     ${layers} layers, hidden ${hidden}, ${heads} heads, mlp ${mlp}, ${activation}; ${classes} classes`,
    `  pixels    ${image.height} × ${image.width} in patches of ${patch.height} × ${patch.width}: ${tokens} tokens`,
    `  graph     ${dtype} for ${target}, ${Math.round(bytes / MIB)} MiB${from}`,
    `  took      ${(milliseconds / 1000).toFixed(1)} s and at most ${peak} MiB of memory`,
    `wrote ${place}. Serve it with`,
    `  vitserve serve --model-repository ${dirname(dirname(place))} --default-model ${basename(dirname(place))}`,
    '',
  ].join('\n');
}
