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
  },
  from: {
    name: 'from',
    group: 'Source',
    type: path(),
    default: null,
    defaultText: 'downloaded',
    summary: "Package file on this machine: onnxruntime-gpu's wheel, or for CUDA 12 the .nupkg.",
  },
  index: {
    name: 'index',
    group: 'Source',
    type: string('URL', 'the address of a package index'),
    default: 'https://pypi.org/simple',
    summary: 'Package index for the wheel, as pip uses them (PEP 503 or 691). CUDA 13 only.',
  },
  into: {
    name: 'into',
    group: 'Output',
    type: path(),
    default: null,
    defaultText: "beside onnxruntime's own library",
    summary: 'Folder for the libraries.',
  },
};
