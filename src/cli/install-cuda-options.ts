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
    summary: 'CUDA version of the machine that serves.',
    reason:
      'The driver decides: `nvidia-smi` shows the highest version that it supports; CUDA 13 ' +
      'needs driver 580 or later. For CUDA 13 the provider is part of a wheel whose contents ' +
      "vitserve checks by their hashes. For CUDA 12, onnxruntime-node's own installer downloads " +
      'it from NuGet without a check, so this command prints the hashes for you to compare. See ' +
      '[gpu.md](../operate/gpu.md).',
  },
  from: {
    name: 'from',
    group: 'Source',
    type: path(),
    default: null,
    defaultText: 'downloaded',
    summary: "Package file on this machine: onnxruntime-gpu's wheel, or for CUDA 12 the .nupkg.",
    reason:
      'For machines without access to an index. [gpu.md](../operate/gpu.md) and the error for a wrong file ' +
      'name the right one.',
  },
  index: {
    name: 'index',
    group: 'Source',
    type: string('URL', 'the address of a package index'),
    default: 'https://pypi.org/simple',
    summary: 'Package index for the wheel, as pip uses them (PEP 503 or 691). CUDA 13 only.',
    reason:
      'Give your mirror if you have one. It need not be trusted: the command installs only the ' +
      'libraries whose hashes it knows.',
  },
  into: {
    name: 'into',
    group: 'Output',
    type: path(),
    default: null,
    defaultText: "beside onnxruntime's own library",
    summary: 'Folder for the libraries.',
    reason:
      'Another folder is for copying the libraries on, as the build of the image does: onnxruntime ' +
      'looks only in the default one.',
  },
};
