/**
 * The facts about a model folder or an ONNX file. Problems are collected instead of thrown, as long
 * as anything can be said.
 */
import { existsSync, statSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';
import { type Manifest, parseManifest } from '../../models/manifest.js';
import { hashFile } from '../../models/weights.js';
import { checkGraph } from '../../onnx/graph/check.js';
import { type GraphSummary, summarizeGraph } from '../../onnx/graph/summary.js';
import { readModel } from '../../onnx/proto/files.js';

export interface Inspected {
  readonly graphPath: string;
  /** `name/version` by the folders; null for a single file. */
  readonly model: string | null;
  /** Null for a single file, or if the manifest can't be read. */
  readonly manifest: Manifest | null;
  readonly graphBytes: number;
  readonly sha256: string;
  /** Whether it matches the manifest's; null without a manifest. */
  readonly sha256Matches: boolean | null;
  readonly graph: GraphSummary;
  readonly problems: readonly string[];
}

/** Throws SetupError if there is no readable graph. */
export async function readInspected(path: string): Promise<Inspected> {
  const place = resolve(path);
  if (!existsSync(place))
    throw new SetupError('usage', [`${path} does not exist: give a model folder or an ONNX file`]);
  const isFolder = statSync(place).isDirectory();
  const folder = isFolder ? await versionFolder(place) : null;
  const problems: string[] = [];
  const manifest =
    folder === null ? null : await readManifest(join(folder, 'model.json'), problems);
  const graphPath = folder === null ? place : join(folder, manifest?.graph.file ?? 'model.onnx');
  if (!existsSync(graphPath))
    throw new SetupError('environment', [...problems, `${graphPath} does not exist`]);

  const model = await readModel(graphPath, { loadExternalData: false });
  problems.push(...checkGraph(model).map((problem) => `${graphPath}: ${problem}`));
  const sha256 = await hashFile(graphPath);
  const sha256Matches = manifest === null ? null : manifest.graph.sha256 === sha256;
  if (sha256Matches === false) {
    problems.push(
      `${graphPath} is not the graph of the manifest, which has sha256 ${manifest?.graph.sha256}`,
    );
  }
  return {
    graphPath,
    model: folder === null ? null : `${basename(dirname(folder))}/${basename(folder)}`,
    manifest,
    graphBytes: statSync(graphPath).size,
    sha256,
    sha256Matches,
    graph: summarizeGraph(
      model,
      manifest === null ? {} : { [manifest.input.name]: inputDims(manifest) },
    ),
    problems,
  };
}

/** Dims of the input for one image. */
export function inputDims({ input }: Manifest): number[] {
  const { height, width } = input;
  return input.layout === 'NHWC' ? [1, height, width, 3] : [1, 3, height, width];
}

async function versionFolder(folder: string): Promise<string> {
  if (existsSync(join(folder, 'model.json'))) return folder;
  const versions = (await readdir(folder)).filter((name) => /^[1-9]\d*$/.test(name)).map(Number);
  if (versions.length > 0) return join(folder, String(Math.max(...versions)));
  throw new SetupError('usage', [
    `${folder} has neither model.json nor versions of a model: give a model folder`,
  ]);
}

async function readManifest(path: string, problems: string[]): Promise<Manifest | null> {
  try {
    const parsed = parseManifest(await readFile(path, 'utf8'));
    if ('manifest' in parsed) return parsed.manifest;
    problems.push(...parsed.problems.map((problem) => `${path}: ${problem}`));
  } catch (error) {
    problems.push(`can't read ${path} (${messageOf(error)})`);
  }
  return null;
}
