/**
 * Which files make a checkpoint: one, or those that an index names. Pickles are rejected, since
 * opening one runs its code.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';

const PICKLES = /\.(bin|pth|pt|ckpt|pkl|tar)$/;

/** The file that a path means, itself or in its folder: tensors or an index. */
export function chooseFile(path: string): string {
  let isFolder: boolean;
  try {
    isFolder = statSync(path).isDirectory();
  } catch (error) {
    throw checkpointProblem(path, [
      `can't be read (${messageOf(error)}): give a checkpoint's folder or its .safetensors file`,
    ]);
  }
  if (!isFolder) {
    if (PICKLES.test(path)) throw checkpointProblem(path, [PICKLE_REMEDY]);
    return path;
  }
  const inside = readdirSync(path);
  for (const name of ['model.safetensors', 'model.safetensors.index.json']) {
    if (inside.includes(name)) return join(path, name);
  }
  const candidates = inside.filter((name) => name.endsWith('.safetensors'));
  if (candidates.length === 1) return join(path, candidates[0] as string);
  if (candidates.length > 1)
    throw checkpointProblem(path, [`holds ${candidates.join(', ')}: give the one to convert`]);
  const pickle = inside.find((name) => PICKLES.test(name));
  if (pickle !== undefined) throw checkpointProblem(join(path, pickle), [PICKLE_REMEDY]);
  throw checkpointProblem(path, [
    'has no model.safetensors: give the folder of a checkpoint, or its .safetensors file',
  ]);
}

const PICKLE_REMEDY =
  'is a PyTorch pickle, which runs code when it is opened: save the weights as safetensors, with ' +
  "safetensors.torch.save_file(model.state_dict(), 'model.safetensors') or save_pretrained";

export interface Index {
  readonly path: string;
  readonly files: readonly string[];
  /** Tensor name to file path. */
  readonly places: ReadonlyMap<string, string>;
}

export function readIndex(path: string): Index {
  let map: unknown;
  try {
    map = (JSON.parse(readFileSync(path, 'utf8')) as { weight_map?: unknown } | null)?.weight_map;
  } catch (error) {
    throw checkpointProblem(path, [`can't be read (${messageOf(error)})`]);
  }
  if (typeof map !== 'object' || map === null) throw checkpointProblem(path, ['has no weight_map']);
  const places = new Map<string, string>();
  const problems: string[] = [];
  for (const [name, file] of Object.entries(map)) {
    // Only a file beside the index: an index from elsewhere must not name files all over the
    // machine.
    if (typeof file !== 'string' || file !== basename(file) || !file.endsWith('.safetensors')) {
      problems.push(
        `weight_map: ${name} is in ${JSON.stringify(file)}, ` +
          'not in a .safetensors file beside the index',
      );
    } else places.set(name, join(dirname(path), file));
  }
  if (problems.length > 0) throw checkpointProblem(path, problems);
  return { path, files: [...new Set(places.values())], places };
}

/** Problems of a file. */
export function checkpointProblem(path: string, problems: readonly string[]): SetupError {
  return new SetupError(
    'environment',
    problems.map((problem) => `${path}: ${problem}`),
  );
}
