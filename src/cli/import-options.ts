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
 * `modelRepository` is the repository of `vitserve serve`: where it looks by default, this writes by
 * default.
 */
export function importOptions(modelRepository: Option<string>): OptionTable<ImportSettings> {
  return {
    variant: {
      name: 'variant',
      group: 'Source',
      type: string('NAME', 'the end of a file name, such as fp16 for model_fp16.onnx'),
      default: null,
      defaultText: 'model.onnx',
      summary: 'Which of several files of a folder to take: fp16 means model_fp16.onnx.',
      reason:
        'Folders of transformers.js and onnx-community have many files beside each other. `int8`, `uint8`, `quantized` and `q4` are made for ' +
        'the CPU, `fp16` for CUDA; the import says so, and prints the command that serves each where it belongs.',
    },
    labels: {
      name: 'labels',
      group: 'Source',
      type: string('FILE|none', 'a file, or none'),
      default: null,
      defaultText: 'those of config.json',
      summary:
        'The names of the classes: a file with one a line or JSON, or none for "class 0", "class 1" and so on.',
      reason:
        'Answers carry labels, so a model without them is refused until you name them or say that you want none. JSON is a ' +
        'list, or an object by class index. A model with one sigmoid output takes one label, or two: first the one for no.',
    },
    recipe: {
      name: 'recipe',
      group: 'Source',
      type: choice('hf-vit', 'hf-deit', 'timm', 'torchvision', 'torchvision-swag'),
      default: null,
      defaultText: 'that of the files beside the graph',
      summary: 'How pictures become pixels, as this library does it for the size of the model.',
      reason:
        'A model that is fed otherwise than it was evaluated loses accuracy without any error, so there is no default for a ' +
        'file that says nothing. It overrides what lies beside the graph. The recipes stand in models.md.',
    },
    mean: {
      name: 'mean',
      group: 'Source',
      type: triple(false),
      default: null,
      defaultText: "the recipe's",
      summary: 'What is taken off red, green and blue after scaling to 0…1.',
      reason:
        'For a model that follows a library in all but its normalisation, such as DeiT with the values of ImageNet.',
    },
    std: {
      name: 'std',
      group: 'Source',
      type: triple(true),
      default: null,
      defaultText: "the recipe's",
      summary: 'What red, green and blue are divided by after the mean is taken off.',
      reason: 'Goes with `mean`.',
    },
    activation: {
      name: 'activation',
      group: 'Source',
      type: choice('softmax', 'sigmoid', 'none'),
      default: null,
      defaultText: 'by the graph or config.json, else softmax',
      summary:
        'What makes probabilities of what the graph answers; none where it already answers with them.',
      reason:
        'A last Softmax or Sigmoid is seen. `sigmoid` is for models whose classes do not exclude each other.',
    },
    inputSize: {
      name: 'input-size',
      group: 'Source',
      type: imageSize(),
      default: null,
      defaultText: "the graph's, or that of config.json",
      summary: 'Height and width of the pictures that the graph takes, in pixels.',
      reason: 'Exporters may leave the size open although the position embeddings fix it.',
    },
    layout: {
      name: 'layout',
      group: 'Source',
      type: choice('NCHW', 'NHWC'),
      default: null,
      defaultText: 'by the axis that is 3',
      summary:
        'Where the colours are in the input: [batch, 3, height, width] or [batch, height, width, 3].',
      reason: 'Only for graphs whose shape leaves it open.',
    },
    output: {
      name: 'output',
      group: 'Source',
      type: string('NAME', "an output's name"),
      default: null,
      defaultText: 'the only one, or the one called logits',
      summary: 'Which output of the graph has the classes.',
      reason: 'For graphs with several outputs whose names say nothing.',
    },
    modelRepository: {
      ...modelRepository,
      group: 'Output',
      summary: 'Folder of the model repository that the model is put into.',
    },
    name: {
      name: 'name',
      group: 'Output',
      type: string('NAME', 'letters, digits, dots, dashes and underscores'),
      default: null,
      defaultText: 'that of the folder or file',
      summary: "The model's name in the repository.",
      reason: 'It is what callers ask for, and a label of metrics.',
    },
    version: {
      name: 'version',
      group: 'Output',
      type: autoOr(integer(1, 999_999_999)),
      default: 'auto',
      summary: "The version's number. auto: one more than the highest that is there.",
      reason:
        'Of each model the highest version is served, so `auto` replaces the model at the next start. A version that is there ' +
        'is never overwritten: whoever reads a version in an answer has to be able to trust it.',
    },
    description: {
      name: 'description',
      group: 'Output',
      type: string('TEXT', 'a text'),
      default: null,
      defaultText: 'the architecture and where it came from',
      summary: 'What the model is, for people.',
      reason: 'It goes into the manifest.',
    },
    license: {
      name: 'license',
      group: 'Output',
      type: string('TEXT', 'a text'),
      default: null,
      defaultText: 'what the model card or pretrained_cfg says',
      summary: 'The licence of the weights.',
      reason: 'It goes into the manifest, as `unknown` where nobody says it.',
    },
    embedding: {
      name: 'embedding',
      group: 'Output',
      type: boolean(),
      default: true,
      summary: 'Whether the representation under the head becomes a second output, for Embed.',
      reason: 'It costs nothing to speak of. Without it the server refuses Embed for this model.',
    },
    checkImages: {
      name: 'check-images',
      group: 'Checks',
      type: path(),
      default: null,
      defaultText: 'drawn pictures',
      summary:
        'Folder of JPEG, PNG or WebP files to compare the prepared graph with the original on; 64 of them at most.',
      reason:
        'Random pixels are always compared. Pictures of the kind that the model will see are a harder proof.',
    },
    force: {
      name: 'force',
      group: 'Checks',
      type: boolean(),
      default: false,
      summary:
        'Keep the model although its probabilities are further from those of the original than they should be.',
      reason:
        'At most 0.001, or 0.005 for float16, is accepted without it, and what the original itself differs by when its input ' +
        'moves in the last bits. Look at the agreement that is printed before you use it.',
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
