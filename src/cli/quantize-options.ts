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
    reason:
      'With int8 the model uses the integer units of server CPUs, and its file is a quarter of the ' +
      'size; activations are quantized as the graph runs, so no calibration images are needed. float16 ' +
      'halves the file and suits GPUs; on a CPU it is slower than float32.',
  },
  head: {
    name: 'head',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Quantize the classifier too. Only for int8.',
    reason:
      'The head runs once per image, not once per token: it takes little time, and its rounding ' +
      'errors go straight into the answer. It may pay with very many classes and little memory.',
  },
  weightBits: {
    name: 'weight-bits',
    group: 'Output',
    type: choice('7', '8'),
    default: '7',
    summary: 'Bits that an int8 weight uses, of its eight.',
    reason:
      'On CPUs without VNNI (AMD before Zen 4, most Intel before Ice Lake) products of 8 bits ' +
      'overflow and need a slower way; 7 bits are exact and as fast as the CPU can be. On other ' +
      'CPUs both are equally fast. The default model is as accurate with 7 as with 8; try 8 if ' +
      'your images show otherwise and the CPU has VNNI.',
  },
  out: {
    name: 'out',
    group: 'Output',
    type: path(),
    default: null,
    defaultText: 'the next version beside the source',
    summary: 'Folder for the new version: MODEL/NUMBER. It must not exist.',
    reason:
      'The server serves the highest version of each model, so by default the quantized model ' +
      'replaces its source at the next start, and deleting its folder brings the source back. To ' +
      'try it first, use another model name: `/tmp/trial/my-model/1`.',
  },
  images: {
    name: 'images',
    group: 'Checks',
    type: path(),
    default: null,
    defaultText: 'random pixels',
    summary: 'Folder with JPEG, PNG or WebP files on which to compare the answers.',
    reason:
      'The loss depends on what the model sees. A few hundred of your own images tell more than ' +
      "any figure in a paper. They go through the model's recipe, as in the server.",
  },
};
