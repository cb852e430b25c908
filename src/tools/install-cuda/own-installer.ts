/**
 * Runs onnxruntime-node's own installer, which fetches its CUDA 12 provider from NuGet and puts it
 * in place itself.
 */
import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SetupError } from '../../errors.js';
import { hashFile } from '../../models/weights.js';
import {
  type InstalledOnnxruntime,
  PROVIDER_FILES,
} from '../../workers/inference/cuda/provider-place.js';
import type { Placed } from './put-in-place.js';

/** Its output goes to standard error. Rejects with SetupError. */
export async function runOwnInstaller({
  packageFolder,
  libraryFolder,
  version,
}: InstalledOnnxruntime): Promise<Placed[]> {
  const script = join(packageFolder, 'script/install.js');
  const said: string[] = [];
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(process.execPath, [script, '--onnxruntime-node-install=cuda12'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said.push(text);
        process.stderr.write(text);
      });
    }
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) {
    const why =
      /^\s*(?:\w*Error: )?(.*(?:E[A-Z]{4,}|HTTP|[Ff]ailed).*)$/m.exec(said.join(''))?.[1] ??
      `exit code ${code}`;
    throw new SetupError('environment', [
      `onnxruntime-node's installer can't download its CUDA 12 provider from NuGet (${why.trim()}): download Microsoft.ML.OnnxRuntime.Gpu.Linux ${version} elsewhere and give the .nupkg with --from, or use --cuda 13`,
    ]);
  }
  return await Promise.all(
    PROVIDER_FILES.map(async (file) => {
      const path = join(libraryFolder, file);
      return { file, bytes: (await stat(path)).size, sha256: await hashFile(path) };
    }),
  );
}
