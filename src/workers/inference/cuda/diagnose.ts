/**
 * Why CUDA can't be used here, and what to do about it.
 *
 * onnxruntime says "Failed to load shared library" whatever is missing. So after such a failure
 * this module repeats the steps one by one: the provider's files, the libraries they need, the
 * provider itself, the driver, a GPU. Each is really loaded (dlopen(3)), by the same rules and from
 * the same places. Loaded libraries stay: this is for a process that goes on without CUDA or ends.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { messageOf } from '../../../errors.js';
import { neededLibraries } from './needed-libraries.js';
import { findOnnxruntime, PROVIDER_FILES } from './provider-place.js';

/** dlopen(3): all symbols at once, for others to see. */
const RTLD_NOW = 2;
const RTLD_GLOBAL = 0x100;

const DRIVER = 'libcuda.so.1';
/** Opened when a session starts, so no file lists it. */
const CUDNN = 'libcudnn.so.9';

export interface CudaProblem {
  /** The first step that failed; later ones were not tried. */
  readonly step: 'platform' | 'provider' | 'libraries' | 'driver' | 'gpu';
  /** One line: what is wrong, and what to do. */
  readonly text: string;
}

/**
 * Null if everything loads and the driver has a GPU. Never throws. @param folder where the provider
 * should be
 */
export function diagnoseCuda(folder = findOnnxruntime().libraryFolder): CudaProblem | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return { step: 'platform', text: 'onnxruntime has a CUDA provider for Linux on x64 only' };
  }
  const files = PROVIDER_FILES.map((name) => join(folder, name));
  if (!files.every((file) => existsSync(file))) {
    return {
      step: 'provider',
      text: `the CUDA provider of onnxruntime is not installed: run "vitserve install-cuda"`,
    };
  }
  try {
    return walk(files);
  } catch (error) {
    return {
      step: 'provider',
      text: `the CUDA provider can't be examined: ${messageOf(error)}`,
    };
  }
}

/** The CUDA version that the provider in `folder` was built for: `13`. Null if it does not say. */
export function cudaVersionOf(folder: string): number | null {
  return cudaVersionIn(neededLibraries(join(folder, PROVIDER_FILES[1])));
}

function cudaVersionIn(needed: readonly string[]): number | null {
  const versions = needed.map((name) => /^libcudart\.so\.(\d+)$/.exec(name)?.[1]);
  const version = versions.find((found) => found !== undefined);
  return version === undefined ? null : Number(version);
}

function walk(files: readonly string[]): CudaProblem | null {
  const load = createLoader();
  const needed = [...new Set(files.flatMap(neededLibraries))];
  const cuda = cudaVersionIn(needed);
  const asked = [...needed.filter((name) => name !== DRIVER), CUDNN];
  const missing = asked.filter((name) => load(name) !== null);
  if (missing.length > 0) {
    const text =
      `${missing.join(', ')} can't be loaded: ` +
      `install the libraries of CUDA ${cuda ?? ''} and cuDNN 9, or name their folder in LD_LIBRARY_PATH`;
    return { step: 'libraries', text };
  }
  if (load(DRIVER) !== null) {
    const text =
      `${DRIVER}, which comes with the NVIDIA driver, is missing: ` +
      'install the driver, or start the container with a GPU';
    return { step: 'driver', text };
  }
  for (const file of files) {
    const problem = load(file);
    if (problem !== null)
      return { step: 'libraries', text: `the CUDA provider can't be loaded: ${problem}` };
  }
  return askDriver(cuda ?? 0);
}

function askDriver(cuda: number): CudaProblem | null {
  const driver = koffi.load(DRIVER);
  const version = [0];
  driver.func('int cuDriverGetVersion(_Out_ int*)')(version);
  const [supported = 0] = version;
  if (Math.floor(supported / 1000) < cuda) {
    const has = `${Math.floor(supported / 1000)}.${Math.floor((supported % 1000) / 10)}`;
    const text =
      `the NVIDIA driver knows CUDA up to ${has} and the provider is for CUDA ${cuda}: ` +
      'update the driver, or run "vitserve install-cuda --cuda 12"';
    return { step: 'driver', text };
  }
  const code = driver.func('int cuInit(uint)')(0) as number;
  if (code === 0) return null;
  const name: (string | null)[] = [null];
  driver.func('int cuGetErrorName(int, _Out_ const char**)')(code, name);
  return {
    step: 'gpu',
    text: `the NVIDIA driver finds no GPU that it can use: ${name[0] ?? 'error'} (${code})`,
  };
}

/** Loads a library as the dynamic linker finds it; null, or the linker's error. */
function createLoader(): (file: string) => string | null {
  const system = koffi.load(null);
  const dlopen = system.func('void* dlopen(const char*, int)');
  const dlerror = system.func('const char* dlerror()');
  return (file) => (dlopen(file, RTLD_NOW | RTLD_GLOBAL) === null ? String(dlerror()) : null);
}
