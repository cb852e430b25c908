/**
 * Where onnxruntime looks for its CUDA provider: beside its own library, and nowhere else. The npm
 * package does not include it; `vitserve install-cuda` puts it there.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The bridge between onnxruntime and a provider, and the provider. Loaded in this order. */
export const PROVIDER_FILES = [
  'libonnxruntime_providers_shared.so',
  'libonnxruntime_providers_cuda.so',
] as const;

export type ProviderFile = (typeof PROVIDER_FILES)[number];

export interface InstalledOnnxruntime {
  readonly version: string;
  /** The npm package. */
  readonly packageFolder: string;
  /** The folder of this platform's libraries. */
  readonly libraryFolder: string;
}

export function findOnnxruntime(): InstalledOnnxruntime {
  const file = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  const packageFolder = dirname(file);
  return {
    version,
    packageFolder,
    libraryFolder: join(packageFolder, 'bin/napi-v6', process.platform, process.arch),
  };
}
