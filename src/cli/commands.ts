/**
 * The commands that take options, with the table of each: the source of `--help` and the
 * documentation.
 */

import { benchOptions } from './bench-options.js';
import { convertOptions } from './convert-options.js';
import { EVALUATE_OPTIONS } from './evaluate-options.js';
import { importOptions } from './import-options.js';
import { inspectOptions } from './inspect-options.js';
import { INSTALL_CUDA_OPTIONS } from './install-cuda-options.js';
import { type OptionRow, optionRows } from './option.js';
import { CLASSIFY_OPTIONS, SERVE_OPTIONS } from './options.js';
import { QUANTIZE_OPTIONS } from './quantize-options.js';

export interface Command {
  readonly usage: string;
  /** One sentence for the list of commands. */
  readonly summary: string;
  /** What an operator should know before the options. */
  readonly introduction: string;
  readonly options: readonly OptionRow[];
}

export const COMMANDS = {
  serve: {
    usage: 'vitserve serve [options]',
    summary: 'Serve the models of a repository over gRPC.',
    introduction:
      'Loads the models, warms them up, and answers calls until SIGTERM or Ctrl-C. Then it finishes ' +
      'the calls that it has admitted and exits.',
    options: optionRows(SERVE_OPTIONS),
  },
  classify: {
    usage: 'vitserve classify [options] FILE…',
    summary: 'Classify image files with a running server.',
    introduction:
      'Sends JPEG, PNG or WebP files to a running server and prints the predicted labels, best first.',
    options: optionRows(CLASSIFY_OPTIONS),
  },
  import: {
    usage: 'vitserve import [options] FOLDER|FILE',
    summary: 'Import an exported ONNX model into the model repository.',
    introduction:
      'Recognizes the export and the files beside it, prepares the graph for serving, compares it with ' +
      'the original, and writes it with a manifest into the model repository. If something is missing, ' +
      'it names the options to give, all at once.',
    options: optionRows(importOptions(SERVE_OPTIONS.modelRepository)),
  },
  convert: {
    usage: 'vitserve convert [options] FOLDER|FILE',
    summary: 'Convert a ViT or DeiT checkpoint into a model of the repository, without Python.',
    introduction:
      'Reads safetensors and config.json of Hugging Face transformers or timm, builds the graph, and ' +
      'writes it with a manifest into the model repository.',
    options: optionRows(convertOptions(SERVE_OPTIONS.modelRepository)),
  },
  quantize: {
    usage: 'vitserve quantize [options] MODEL_FOLDER',
    summary: 'Make a smaller, faster version of a model: int8 for the CPU, float16 for CUDA.',
    introduction:
      'Rewrites the graph of a model folder, compares size, speed and answers with the source, and ' +
      'writes a new version.',
    options: optionRows(QUANTIZE_OPTIONS),
  },
  evaluate: {
    usage: 'vitserve evaluate [options] MODEL_FOLDER DATA',
    summary: 'Show how often a model is right on labelled images.',
    introduction:
      'DATA is a folder with one folder of images for each class, named as its label, or a CSV file ' +
      'with a file and a label in each row. Prints accuracy, calibration, and which classes are taken ' +
      'for others. Images are decoded and executed as the server does it, one by one.',
    options: optionRows(EVALUATE_OPTIONS),
  },
  inspect: {
    usage: 'vitserve inspect [options] MODEL_FOLDER|FILE|--live',
    summary: 'Show what is in a model, or what a running server does.',
    introduction:
      'Reads a model folder or an ONNX file and shows its size, work, inputs, outputs, labels and ' +
      'origin. The exit code is 1 if something is wrong with it. With --live it asks a running server ' +
      'instead.',
    options: optionRows(inspectOptions(SERVE_OPTIONS)),
  },
  'install-cuda': {
    usage: 'vitserve install-cuda [options]',
    summary: 'Install the CUDA provider of onnxruntime, and check what else CUDA needs.',
    introduction:
      'Downloads the libraries that onnxruntime needs for NVIDIA GPUs, verifies them, and puts them ' +
      'where onnxruntime looks. Then it tries them and names what is missing.',
    options: optionRows(INSTALL_CUDA_OPTIONS),
  },
  bench: {
    usage: 'vitserve bench [options] [FILE|FOLDER…]',
    summary: 'Measure the latency and throughput of a running server.',
    introduction:
      'Sends images to a running server, from a number of callers or at a rate, and prints outcomes, ' +
      'latencies and where the time went. Without a FILE or FOLDER of JPEG, PNG or WebP files it draws ' +
      'an image of the size of a photo. Ctrl-C ends it with the figures so far. The exit code is 1 if ' +
      'no call was answered or the server was lost.',
    options: optionRows(benchOptions(CLASSIFY_OPTIONS)),
  },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof COMMANDS;

export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly CommandName[];
