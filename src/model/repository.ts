/**
 * The model repository: `models/<name>/<version>/{model.json, model.onnx}`. Versions are integers; the highest is served.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { messageOf, SetupError } from '../errors.js';
import { type Manifest, parseManifest } from './manifest.js';
import { RANDOM_WEIGHTS } from './provenance.js';
import { outputSize } from './recipe.js';

export interface Model {
  readonly name: string;
  readonly version: string;
  readonly graphPath: string;
  readonly manifest: Manifest;
}

/**
 * Loads one model's highest version and checks it against its manifest (the graph's hash included).
 * `name` may be empty where the repository holds one model only. A model with random weights is refused unless
 * `allowRandomWeights`. Throws SetupError with every problem found.
 */
export async function loadModel(
  repository: string,
  name: string,
  { allowRandomWeights = false }: { readonly allowRandomWeights?: boolean } = {},
): Promise<Model> {
  const names = await foldersOf(repository);
  const chosen = name === '' && names.length === 1 ? (names[0] as string) : name;
  if (chosen === '') {
    throw new SetupError('usage', [
      names.length === 0
        ? `models: ${repository} holds no model: it wants <name>/<version>/model.json`
        : `model: ${repository} holds ${names.length} models: say which with --model (${names.join(', ')})`,
    ]);
  }
  if (!names.includes(chosen)) {
    const known = names.length === 0 ? 'it is empty' : `it has ${names.join(', ')}`;
    throw new SetupError('usage', [`model: no model "${chosen}" in ${repository}: ${known}`]);
  }
  const versions = (await foldersOf(join(repository, chosen))).filter((version) => /^[1-9]\d*$/.test(version));
  const version = versions.sort((a, b) => Number(a) - Number(b)).at(-1);
  if (version === undefined) {
    throw new SetupError('environment', [
      `model ${chosen}: no version in ${join(repository, chosen)}: a version is a folder named by a whole number, such as 1`,
    ]);
  }
  const model = await loadVersion(chosen, version, join(repository, chosen, version));
  if (model.manifest.provenance.weights === RANDOM_WEIGHTS && !allowRandomWeights) {
    throw new SetupError('usage', [
      `model ${chosen}/${version} has random weights, so its answers mean nothing: name another model, or set allow-random-weights to measure with it`,
    ]);
  }
  return model;
}

/**
 * Loads the model of a folder: of a version (`models/vit/2`), or of a model's highest version (`models/vit`). The same
 * checks as in `loadModel`.
 */
export async function loadModelFolder(folder: string): Promise<Model> {
  const path = resolve(folder);
  if (existsSync(join(path, 'model.json'))) {
    return await loadVersion(basename(dirname(path)), basename(path), path);
  }
  return await loadModel(dirname(path), basename(path), { allowRandomWeights: true });
}

async function loadVersion(name: string, version: string, folder: string): Promise<Model> {
  const fail = (problems: string[]) =>
    new SetupError(
      'environment',
      problems.map((problem) => `model ${name}/${version}: ${problem}`),
    );
  const manifestPath = join(folder, 'model.json');
  const text = await readFile(manifestPath, 'utf8').catch((error: unknown) => {
    throw fail([`can't read ${manifestPath} (${messageOf(error)})`]);
  });
  const parsed = parseManifest(text);
  if ('problems' in parsed) throw fail(parsed.problems.map((problem) => `${manifestPath}: ${problem}`));
  const { manifest } = parsed;

  const problems: string[] = [];
  const { input, preprocessing, graph } = manifest;
  const pixels = outputSize(preprocessing);
  if (pixels === null || pixels.height !== input.height || pixels.width !== input.width) {
    const made = pixels === null ? 'pixels of varying size' : `${pixels.height} × ${pixels.width} pixels`;
    problems.push(`${manifestPath}: preprocessing makes ${made}, input wants ${input.height} × ${input.width}`);
  }
  const graphPath = join(folder, graph.file);
  const sha256 = await hashOf(graphPath).catch((error: unknown) => {
    problems.push(`can't read the graph ${graphPath} (${messageOf(error)})`);
    return null;
  });
  if (sha256 !== null && sha256 !== graph.sha256) {
    problems.push(
      `${graphPath} is not the graph that the manifest describes: its sha256 is ${sha256}, expected ${graph.sha256}`,
    );
  }
  if (problems.length > 0) throw fail(problems);
  return { name, version, graphPath, manifest };
}

async function foldersOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw new SetupError('environment', [
      `models: can't read ${folder} (${messageOf(error)}): name the model repository`,
    ]);
  });
  return entries
    .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort();
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
