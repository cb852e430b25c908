/** The option table of `vitserve install-cuda`, and the settings that it makes. */

import type { OptionTable } from './option.js';
import { choice, path, string } from './value-types.js';

export interface InstallCudaSettings {
  readonly cuda: '12' | '13';
  /** Absolute path, or null: downloaded. */
  readonly from: string | null;
  /** A package index as pip knows them. */
  readonly index: string;
  /** Absolute path, or null: where onnxruntime looks. */
  readonly into: string | null;
}

export const INSTALL_CUDA_OPTIONS: OptionTable<InstallCudaSettings> = {
  cuda: {
    name: 'cuda',
    group: 'Source',
    type: choice('12', '13'),
    default: '13',
    summary: 'The version of CUDA that is, or will be, on the machine that serves.',
    reason:
      'The driver decides: `nvidia-smi` shows the highest version that it knows, and CUDA 13 needs a driver of 580 or later. The provider ' +
      "for 13 is a part of a wheel whose contents vitserve knows by their hashes. That for 12 is fetched by onnxruntime-node's own installer " +
      'from NuGet, which checks none, so the hashes are printed for you to compare. [gpu.md](gpu.md) says more.',
  },
  from: {
    name: 'from',
    group: 'Source',
    type: path(),
    default: null,
    defaultText: 'downloaded',
    summary:
      'The package on this machine: the wheel of onnxruntime-gpu, or for CUDA 12 the .nupkg.',
    reason:
      'For machines that reach no index. Which file it has to be is said when another one is given, and in [gpu.md](gpu.md).',
  },
  index: {
    name: 'index',
    group: 'Source',
    type: string('URL', 'the address of a package index'),
    default: 'https://pypi.org/simple',
    summary:
      'Package index to download the wheel from, as pip knows them (PEP 503 or 691). For CUDA 13 only.',
    reason:
      'Give your mirror where there is one. It need not be trusted: what is not the library that it should be is not installed.',
  },
  into: {
    name: 'into',
    group: 'Output',
    type: path(),
    default: null,
    defaultText: "beside onnxruntime's own library",
    summary: 'Folder to put the libraries into.',
    reason:
      'There onnxruntime looks for them, and nowhere else. Another folder is for those who copy them on, as the build of the image ' +
      'does.',
  },
};
