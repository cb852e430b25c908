/**
 * Reads a folder or file that the user names: which graph, and the parsed files beside it. Decides
 * nothing.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';
import { parseLabels } from '../../models/sources/label-file.js';
import type { Evidence } from '../../models/sources/recognize.js';
import { licenseOfCard, readSourceConfig } from '../../models/sources/source-config.js';
import { findSourceFiles } from '../../models/sources/source-files.js';

export interface Source {
  /** The graph's path; relative if the user's was. */
  readonly graphPath: string;
  readonly evidence: Evidence;
  readonly license: string | null;
  /** The default name of the model: the name of its folder, or of its file. */
  readonly suggestedName: string;
}

export async function readSource(path: string, variant: string | null): Promise<Source> {
  const found = await stat(path).catch((error: unknown) => {
    throw new SetupError('usage', [`can't read ${path} (${messageOf(error)})`]);
  });
  const isFolder = found.isDirectory();
  const parent = dirname(path);
  // The files in `model/` describe `model/onnx/model.onnx`.
  const inner = !isFolder && basename(resolve(parent)) === 'onnx' ? 'onnx/' : '';
  const folder = isFolder ? path : inner === '' ? parent : dirname(parent);
  const file = isFolder ? null : `${inner}${basename(path)}`;
  const source = findSourceFiles(await filesOf(folder), { file, variant });
  if ('problem' in source) throw new SetupError('usage', [`${path}: ${source.problem}`]);

  const [config, preprocessor] = await Promise.all([
    readJson(folder, source.config),
    readJson(folder, source.preprocessor),
  ]);
  const evidence = { config: readSourceConfig(config), preprocessor };
  const card = source.card === null ? '' : await readFile(join(folder, source.card), 'utf8');
  const graphPath = isFolder ? join(folder, source.graph) : path;
  const stem = basename(graphPath, extname(graphPath));
  return {
    graphPath,
    evidence,
    license: evidence.config?.license ?? licenseOfCard(card),
    suggestedName: isFolder || /^model(_|$)/.test(stem) ? basename(resolve(folder)) : stem,
  };
}

/** `--labels`: `none`, or the labels in a file. */
export async function readLabels(flag: string | null): Promise<readonly string[] | 'none' | null> {
  if (flag === null || flag === 'none') return flag;
  const text = await readFile(flag, 'utf8').catch((error: unknown) => {
    throw new SetupError('usage', [`--labels: can't read ${flag} (${messageOf(error)})`]);
  });
  const parsed = parseLabels(text);
  if ('labels' in parsed) return parsed.labels;
  throw new SetupError('usage', [`--labels ${flag}: ${parsed.problem}`]);
}

/** The names in a folder and in `onnx/` below it. */
async function filesOf(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new SetupError('usage', [`can't read ${folder} (${messageOf(error)})`]);
  });
  const inner = names.includes('onnx') ? await readdir(join(folder, 'onnx')).catch(() => []) : [];
  return [...names, ...inner.map((name) => `onnx/${name}`)].sort();
}

async function readJson(folder: string, name: string | null): Promise<unknown> {
  if (name === null) return null;
  const path = join(folder, name);
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new SetupError('usage', [`${path}: not JSON (${messageOf(error)})`]);
  }
}
