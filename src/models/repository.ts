/**
 * The model repository: `models/<name>/<version>/{model.json, model.onnx}`. Versions are integers;
 * the highest is served.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { allOrProblems, messageOf, SetupError } from '../errors.js';
import { type Manifest, parseManifest } from './manifest.js';
import { RANDOM_WEIGHTS } from './provenance.js';
import { outputSize } from './recipe.js';
import { type HashedFile, hashExternalWeights, hashGraph, stampOf } from './weights.js';

export interface Model extends FoundModel {
  readonly graphPath: string;
  readonly manifest: Manifest;
  /** The manifest as it was read. */
  readonly manifestFile: HashedFile;
  /** The graph and the files of weights that it names, as they were read. */
  readonly weights: readonly HashedFile[];
}

/** A model's highest version by its folders; its files have not been read yet. */
export interface FoundModel {
  readonly name: string;
  readonly version: string;
  /** Names, sizes and times of its files, taken before any of them was read. */
  readonly stamp: string;
}

/** The model of a call that names none. Throws SetupError if that is ambiguous. */
export function chooseDefault(
  repository: string,
  names: readonly string[],
  wanted: string,
): string {
  if (wanted === '' && names.length === 1) return names[0] as string;
  if (wanted === '') {
    throw new SetupError('usage', [
      names.length === 0
        ? `model-repository: ${repository} has no model: put one at NAME/VERSION/model.json`
        : `default-model: ${repository} has ${names.length} models: choose one with --default-model (${names.join(', ')})`,
    ]);
  }
  if (!names.includes(wanted)) {
    const known = names.length === 0 ? 'it is empty' : `it has ${names.join(', ')}`;
    throw new SetupError('usage', [
      `default-model: no model "${wanted}" in ${repository}: ${known}`,
    ]);
  }
  return wanted;
}

/**
 * Every model of the repository, by name. A folder without a version is a problem and does not hide
 * the other models.
 */
export async function findModels(
  repository: string,
): Promise<{ found: FoundModel[]; problems: string[] }> {
  const found: FoundModel[] = [];
  const problems: string[] = [];
  for (const name of await foldersOf(repository)) {
    const version = await highestVersion(repository, name);
    if (version !== undefined) found.push(await stamped(repository, name, version));
    else problems.push(noVersion(repository, name));
  }
  return { found, problems };
}

async function stamped(repository: string, name: string, version: string): Promise<FoundModel> {
  return { name, version, stamp: await stampOf(join(repository, name, version)) };
}

async function highestVersion(repository: string, name: string): Promise<string | undefined> {
  const versions = (await foldersOf(join(repository, name))).filter((version) =>
    /^[1-9]\d*$/.test(version),
  );
  return versions.sort((a, b) => Number(a) - Number(b)).at(-1);
}

function noVersion(repository: string, name: string): string {
  return `model ${name}: no version in ${join(repository, name)}: name a folder with a whole number, such as 1`;
}

export interface LoadOptions {
  /** Whether a model with random weights, which is for measurements, may be loaded. */
  readonly allowRandomWeights: boolean;
}

/**
 * Loads the highest version of every model and checks each against its manifest (the graph's hash
 * included). Throws SetupError with the problems of all models.
 */
export async function loadRepository(
  repository: string,
  defaultName: string,
  options: LoadOptions = { allowRandomWeights: false },
): Promise<{ readonly models: readonly Model[]; readonly defaultName: string }> {
  const { found, problems } = await findModels(repository);
  if (problems.length > 0) throw new SetupError('environment', problems);
  const chosen = chooseDefault(
    repository,
    found.map(({ name }) => name),
    defaultName,
  );
  const models = await allOrProblems(found.map((model) => loadModel(repository, model, options)));
  return { models, defaultName: chosen };
}

/** Loads one version. Throws SetupError with every problem found. */
export async function loadModel(
  repository: string,
  found: FoundModel,
  { allowRandomWeights }: LoadOptions,
): Promise<Model> {
  const { name, version } = found;
  const model = await loadVersion(found, join(repository, name, version));
  if (model.manifest.provenance.weights === RANDOM_WEIGHTS && !allowRandomWeights) {
    throw new SetupError('usage', [
      `model ${name}/${version} has random weights, so its answers mean nothing: serve another model, or set allow-random-weights for a measurement`,
    ]);
  }
  return model;
}

/**
 * Loads the model of a folder: a version's (`models/vit/2`), or a model's, which means its highest
 * version (`models/vit`). The same checks as in `loadModel`, with random weights allowed.
 */
export async function loadModelFolder(folder: string): Promise<Model> {
  const path = resolve(folder);
  if (existsSync(join(path, 'model.json'))) {
    const found = await stamped(dirname(dirname(path)), basename(dirname(path)), basename(path));
    return await loadVersion(found, path);
  }
  const [repository, name] = [dirname(path), basename(path)];
  const version = await highestVersion(repository, name);
  if (version === undefined) throw new SetupError('environment', [noVersion(repository, name)]);
  return await loadModel(repository, await stamped(repository, name, version), {
    allowRandomWeights: true,
  });
}

async function loadVersion(found: FoundModel, folder: string): Promise<Model> {
  const { name, version } = found;
  const fail = (problems: string[]) =>
    new SetupError(
      'environment',
      problems.map((problem) => `model ${name}/${version}: ${problem}`),
    );
  const manifestPath = join(folder, 'model.json');
  const bytes = await readFile(manifestPath).catch((error: unknown) => {
    throw fail([`can't read ${manifestPath} (${messageOf(error)})`]);
  });
  const parsed = parseManifest(bytes.toString('utf8'));
  if ('problems' in parsed)
    throw fail(parsed.problems.map((problem) => `${manifestPath}: ${problem}`));
  const { manifest } = parsed;

  const problems: string[] = [];
  const { input, preprocessing, graph } = manifest;
  const pixels = outputSize(preprocessing);
  if (pixels === null || pixels.height !== input.height || pixels.width !== input.width) {
    const made =
      pixels === null ? 'images of varying size' : `${pixels.height} × ${pixels.width} pixels`;
    problems.push(
      `${manifestPath}: preprocessing makes ${made}, but the input is ${input.height} × ${input.width}`,
    );
  }
  const graphPath = join(folder, graph.file);
  const weights: HashedFile[] = [];
  try {
    const { sha256, locations } = await hashGraph(graphPath);
    if (sha256 !== graph.sha256) {
      problems.push(
        `${graphPath} is not the graph of the manifest: its sha256 is ${sha256}, expected ${graph.sha256}`,
      );
    }
    weights.push({ path: graphPath, sha256 }, ...(await hashExternalWeights(graphPath, locations)));
  } catch (error) {
    problems.push(`can't read the graph ${graphPath} (${messageOf(error)})`);
  }
  if (problems.length > 0) throw fail(problems);
  const manifestFile = {
    path: manifestPath,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
  return { ...found, graphPath, manifest, manifestFile, weights };
}

async function foldersOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw new SetupError('environment', [
      `model-repository: can't read ${folder} (${messageOf(error)}): give the folder with the models`,
    ]);
  });
  return entries
    .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !isForeign(entry.name))
    .map((entry) => entry.name)
    .sort();
}

/** Hidden, or what a file system keeps in its root, which may be the root of a volume of models. */
function isForeign(name: string): boolean {
  return name.startsWith('.') || name === 'lost+found';
}
