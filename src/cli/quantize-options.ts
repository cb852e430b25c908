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
    summary: 'What the weights become: int8 for the CPU, float16 for CUDA.',
    reason:
      'With int8 the integer units of server CPUs do the work and the file is a quarter; activations are quantised as the graph runs, ' +
      'so no calibration images are needed. float16 halves the file and suits the tensor cores of GPUs; on a CPU it is slower ' +
      'than float32.',
  },
  head: {
    name: 'head',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Whether the classifier becomes int8 too. Only for int8.',
    reason:
      'The head runs once an image instead of once a token, so its share of the time is small, and its rounding errors go into ' +
      'the answer as they are. With very many classes, and memory to save, it may be worth it.',
  },
  weightBits: {
    name: 'weight-bits',
    group: 'Output',
    type: choice('7', '8'),
    default: '7',
    summary: 'How many bits of its eight an int8 weight uses, 7 or 8. Only for int8.',
    reason:
      'CPUs without VNNI (AMD before Zen 4, most Intel before Ice Lake) overflow with two products of 8 bits and have to multiply ' +
      'those in a slower way; 7 bits are as fast there as the CPU can be, and exact. On other CPUs both are equally fast. The default ' +
      'model is as accurate with 7 as with 8; try 8 where your own images say otherwise and the CPU has VNNI.',
  },
  out: {
    name: 'out',
    group: 'Output',
    type: path(),
    default: null,
    defaultText: 'the next version beside the source',
    summary: 'Folder of the new version: MODEL/NUMBER. It must not be there yet.',
    reason:
      'Of each model the highest version is served, so by default the quantised model replaces its source at the next start, ' +
      'and removing its folder brings the source back. Give another model name to try it first: `/tmp/trial/my-model/1`.',
  },
  images: {
    name: 'images',
    group: 'Checks',
    type: path(),
    default: null,
    defaultText: 'random pixels',
    summary:
      'Folder of JPEG, PNG or WebP files, in subfolders too, on which the answers are compared.',
    reason:
      'What quantising costs depends on what the model sees. A few hundred images of the kind that it will see tell more than ' +
      'any figure in a paper. They are prepared by the recipe of the model, as the server would.',
  },
};
