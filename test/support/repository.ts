/**
 * A model repository that a test changes while it is served: versions are copies of the default
 * model.
 */
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { MODELS, type Scope, temporaryFolder } from './scope.js';

const ORIGINAL = join(MODELS, 'vit-cifar10');

type Manifest = Record<string, unknown>;

export class Repository {
  readonly folder: string;

  constructor(scope: Scope) {
    this.folder = temporaryFolder(scope);
  }

  /**
   * A version that appears at once, like after `mv`. A test may change its manifest or replace its
   * graph.
   */
  put(
    name: string,
    version: number,
    change: (manifest: Manifest) => Manifest = (manifest) => manifest,
  ): string {
    const [newest] = readdirSync(ORIGINAL).sort((a, b) => Number(b) - Number(a));
    const beginning = join(this.folder, `.${name}-${version}`);
    cpSync(join(ORIGINAL, newest as string), beginning, { recursive: true });
    const path = join(beginning, 'model.json');
    writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')) as Manifest)));
    const folder = join(this.folder, name, String(version));
    mkdirSync(join(this.folder, name), { recursive: true });
    renameSync(beginning, folder);
    return folder;
  }

  /**
   * Writes other weights into the graph of a version, in place. Returns a function that restores
   * the old ones.
   */
  overwriteWeights(name: string, version: number): () => void {
    const path = join(this.folder, name, String(version), 'model.onnx');
    const old = readFileSync(path);
    const middle = Math.floor(old.length / 2);
    // Amid the values of some tensor.
    const other = Buffer.from(old).fill(0, middle, middle + 50_000);
    writeFileSync(path, other);
    return () => writeFileSync(path, old);
  }

  remove(...path: readonly string[]): void {
    rmSync(join(this.folder, ...path), { recursive: true });
  }
}
