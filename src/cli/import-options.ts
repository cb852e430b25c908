/** The option table of `vitserve import`, and the settings that it makes. */

import type { Option, OptionTable } from './option.js';
import { autoOr, boolean, choice, integer, path, string, type ValueType } from './value-types.js';

type Triple = readonly [number, number, number];

export interface ImportSettings {
  readonly variant: string | null;
  /** A path as it was written, `none`, or null. */
  readonly labels: string | null;
  readonly recipe: 'hf-vit' | 'hf-deit' | 'timm' | 'torchvision' | 'torchvision-swag' | null;
  readonly mean: Triple | null;
  readonly std: Triple | null;
  readonly activation: 'softmax' | 'sigmoid' | 'none' | null;
  readonly inputSize: { readonly height: number; readonly width: number } | null;
  readonly layout: 'NCHW' | 'NHWC' | null;
  readonly output: string | null;
  /** Absolute path. */
  readonly modelRepository: string;
  readonly name: string | null;
  readonly version: number | 'auto';
  readonly description: string | null;
  readonly license: string | null;
  readonly embedding: boolean;
  /** Absolute path, or null: pictures are drawn. */
  readonly checkImages: string | null;
  readonly force: boolean;
}

/**
 * `modelRepository` is the repository of `vitserve serve`: where it looks by default, this writes
 * by default.
 */
export function importOptions(modelRepository: Option<string>): OptionTable<ImportSettings> {
  return {
    variant: {
      name: 'variant',
      group: 'Source',
      type: string('NAME', 'the end of a file name, such as fp16 for model_fp16.onnx'),
      default: null,
      defaultText: 'model.onnx',
      summary: "Which of a folder's files to import: fp16 means model_fp16.onnx.",
    },
    labels: {
      name: 'labels',
      group: 'Source',
      type: string('FILE|none', 'a file, or none'),
      default: null,
      defaultText: 'those of config.json',
      summary:
        'Names of the classes: a file with one per line or JSON, or none for "class 0" and so ' +
        'on.',
    },
    recipe: {
      name: 'recipe',
      group: 'Source',
      type: choice('hf-vit', 'hf-deit', 'timm', 'torchvision', 'torchvision-swag'),
      default: null,
      defaultText: 'that of the files beside the graph',
      summary: "How images become pixels: as this library does it at the model's size.",
    },
    mean: {
      name: 'mean',
      group: 'Source',
      type: triple(false),
      default: null,
      defaultText: "the recipe's",
      summary: 'What to subtract from red, green and blue after scaling to 0…1.',
    },
    std: {
      name: 'std',
      group: 'Source',
      type: triple(true),
      default: null,
      defaultText: "the recipe's",
      summary: 'What to divide red, green and blue by after subtracting the mean.',
    },
    activation: {
      name: 'activation',
      group: 'Source',
      type: choice('softmax', 'sigmoid', 'none'),
      default: null,
      defaultText: 'by the graph or config.json, else softmax',
      summary: "What turns the graph's outputs into probabilities. none: they are already.",
    },
    inputSize: {
      name: 'input-size',
      group: 'Source',
      type: imageSize(),
      default: null,
      defaultText: "the graph's, or that of config.json",
      summary: "Height and width of the graph's images, in pixels.",
    },
    layout: {
      name: 'layout',
      group: 'Source',
      type: choice('NCHW', 'NHWC'),
      default: null,
      defaultText: 'by the axis that is 3',
      summary: "Order of the input's axes: NCHW is [batch, 3, height, width].",
    },
    output: {
      name: 'output',
      group: 'Source',
      type: string('NAME', "an output's name"),
      default: null,
      defaultText: 'the only one, or the one called logits',
      summary: 'Which output of the graph has the classes.',
    },
    modelRepository: {
      ...modelRepository,
      group: 'Output',
      summary: 'Folder of the model repository to write to.',
    },
    name: {
      name: 'name',
      group: 'Output',
      type: string('NAME', 'letters, digits, dots, dashes and underscores'),
      default: null,
      defaultText: 'that of the folder or file',
      summary: 'Name of the model in the repository.',
    },
    version: {
      name: 'version',
      group: 'Output',
      type: autoOr(integer(1, 999_999_999)),
      default: 'auto',
      summary: 'Version number. auto: one more than the highest.',
    },
    description: {
      name: 'description',
      group: 'Output',
      type: string('TEXT', 'a text'),
      default: null,
      defaultText: 'the architecture and where it came from',
      summary: 'Description of the model.',
    },
    license: {
      name: 'license',
      group: 'Output',
      type: string('TEXT', 'a text'),
      default: null,
      defaultText: 'what the model card or pretrained_cfg says',
      summary: 'Licence of the weights.',
    },
    embedding: {
      name: 'embedding',
      group: 'Output',
      type: boolean(),
      default: true,
      summary: 'Add the representation under the head as a second output, for Embed.',
    },
    checkImages: {
      name: 'check-images',
      group: 'Checks',
      type: path(),
      default: null,
      defaultText: 'drawn pictures',
      summary: 'Folder with JPEG, PNG or WebP files on which to compare the graphs, at most 64.',
    },
    force: {
      name: 'force',
      group: 'Checks',
      type: boolean(),
      default: false,
      summary: "Keep the model although its probabilities differ too much from the original's.",
    },
  };
}

function triple(aboveZero: boolean): ValueType<Triple> {
  return {
    kind: 'string',
    placeholder: 'R,G,B',
    accepts: `three numbers${aboveZero ? ' above zero' : ''} with commas, such as 0.5,0.5,0.5`,
    schema: { type: 'string' },
    parse(text) {
      const [red, green, blue, ...more] = text
        .split(',')
        .map((part) => (/^\d+(\.\d+)?$/.test(part) ? Number(part) : Number.NaN));
      const values = [red ?? Number.NaN, green ?? Number.NaN, blue ?? Number.NaN] as const;
      return more.length === 0 && values.every((value) => (aboveZero ? value > 0 : value >= 0))
        ? values
        : undefined;
    },
    format: (values) => values.join(','),
  };
}

export function imageSize(): ValueType<{ readonly height: number; readonly width: number }> {
  const side = integer(1, 4096);
  return {
    kind: 'string',
    placeholder: 'N|HxW',
    accepts: 'pixels from 1 to 4096, once for a square or as HEIGHTxWIDTH, such as 224 or 224x320',
    schema: { type: 'string' },
    parse(text) {
      const [first = '', second = first, ...more] = text.split('x');
      const [height, width] = [side.parse(first), side.parse(second)];
      return height === undefined || width === undefined || more.length > 0
        ? undefined
        : { height, width };
    },
    format: ({ height, width }) => (height === width ? String(height) : `${height}x${width}`),
  };
}
