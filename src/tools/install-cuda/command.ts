/**
 * `vitserve install-cuda`: puts onnxruntime's CUDA provider, of exactly the installed version,
 * where onnxruntime finds it, and says what else is missing to run it.
 *
 * The npm package does not include it, because the provider is larger than the registry accepts.
 * Downloads 250 MB, unpacks 270. Missing CUDA, cuDNN or driver are not a failure: an image is built
 * where there is no GPU.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InstallCudaSettings } from '../../cli/install-cuda-options.js';
import { loadInstallCudaSettings } from '../../cli/load.js';
import { Progress } from '../../cli/progress.js';
import { SetupError } from '../../errors.js';
import { cudaVersionOf, diagnoseCuda } from '../../workers/inference/cuda/diagnose.js';
import {
  findOnnxruntime,
  type InstalledOnnxruntime,
} from '../../workers/inference/cuda/provider-place.js';
import { downloadFromIndex } from './download.js';
import { KNOWN_PROVIDER } from './known-provider.js';
import { runOwnInstaller } from './own-installer.js';
import { type Placed, putInPlace } from './put-in-place.js';

const MEGABYTE = 1e6;

export async function installCuda(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  const { settings } = loadInstallCudaSettings(argv, environment);
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError('environment', [
      `onnxruntime has a CUDA provider for Linux on x64 only, not for ${process.platform} on ${process.arch}`,
    ]);
  }
  const onnxruntime = findOnnxruntime();
  const folder = settings.into ?? onnxruntime.libraryFolder;
  const placed =
    settings.cuda === '13'
      ? await install13(settings, onnxruntime, folder)
      : await install12(settings, onnxruntime, folder);

  const lines = placed.map(
    ({ file, bytes, sha256 }) => `  ${file}  ${bytes} bytes, sha256 ${sha256}`,
  );
  process.stdout.write(
    `the CUDA ${settings.cuda} provider of onnxruntime ${onnxruntime.version} in ${folder}\n${lines.join('\n')}\n`,
  );
  const madeFor = cudaVersionOf(folder);
  if (madeFor !== Number(settings.cuda)) {
    process.stdout.write(
      `note: its libraries are for CUDA ${madeFor ?? '?'}, not for ${settings.cuda}\n`,
    );
  }
  const problem = diagnoseCuda(folder);
  process.stdout.write(
    problem === null
      ? 'It loads, and the driver has a GPU. "vitserve inspect --providers" shows what runs on it.\n'
      : `Still missing on this machine: ${problem.text}\n`,
  );
  return 0;
}

async function install13(
  settings: InstallCudaSettings,
  { version }: InstalledOnnxruntime,
  folder: string,
): Promise<Placed[]> {
  const { onnxruntime, project, wheel, hashes } = KNOWN_PROVIDER;
  if (version !== onnxruntime) {
    throw new SetupError('environment', [
      `onnxruntime-node ${version} is installed, but the known provider is for ${onnxruntime}: install the versions of the lockfile with "npm ci"`,
    ]);
  }
  const place = (archive: string) =>
    putInPlace(
      archive,
      'onnxruntime/capi',
      folder,
      hashes,
      `give ${wheel}, where it is ${hashes['libonnxruntime_providers_cuda.so']}`,
    );
  if (settings.from !== null) return await place(settings.from);

  const scratch = await mkdtemp(join(tmpdir(), 'vitserve-cuda-'));
  try {
    const target = join(scratch, wheel);
    let bar: Progress | null = null;
    await downloadFromIndex(
      { index: settings.index, project, file: wheel, target },
      (done, total) => {
        bar ??= new Progress(Math.ceil((total ?? 250 * MEGABYTE) / MEGABYTE), process.stderr);
        bar.show(Math.floor(done / MEGABYTE));
      },
    );
    (bar as Progress | null)?.clear();
    return await place(target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function install12(
  settings: InstallCudaSettings,
  onnxruntime: InstalledOnnxruntime,
  folder: string,
): Promise<Placed[]> {
  if (settings.from !== null)
    return await putInPlace(settings.from, 'runtimes/linux-x64/native', folder, null, '');
  return await runOwnInstaller(onnxruntime);
}
