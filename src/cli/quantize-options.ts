/** The option table of `vitserve quantize`, and the settings that it makes. */

import type { OptionTable } from './option.js';
import { boolean, choice, path } from './value-types.js';

export interface QuantizeSettings {
  readonly dtype: 'int8' | 'float16';
  readonly head: boolean;
  readonly weightBits: '7' | '8';
  /** Absolute path, or null: the next version beside the source. */
  readonly out: string | null;
  /** Absolute path, or null: answers are compared on random pixels. */
  readonly images: string | null;
}

export const QUANTIZE_OPTIONS: OptionTable<QuantizeSettings> = {
  dtype: {
    name: 'dtype',
    group: 'Output',
    type: choice('int8', 'float16'),
    default: 'int8',
    summary: 'Type of the weights: int8 for the CPU, float16 for CUDA.',
  },
  head: {
    name: 'head',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Quantize the classifier too. Only for int8.',
  },
  weightBits: {
    name: 'weight-bits',
    group: 'Output',
    type: choice('7', '8'),
    default: '7',
    summary: 'Bits that an int8 weight uses, of its eight.',
  },
  out: {
    name: 'out',
    group: 'Output',
    type: path(),
    default: null,
    defaultText: 'the next version beside the source',
    summary: 'Folder for the new version: MODEL/NUMBER. It must not exist.',
  },
  images: {
    name: 'images',
    group: 'Checks',
    type: path(),
    default: null,
    defaultText: 'random pixels',
    summary: 'Folder with JPEG, PNG or WebP files on which to compare the answers.',
  },
};
