/**
 * The commands that take options, with the table of each: the source of `--help` and the
 * documentation.
 */

import { benchOptions } from './bench-options.js';
import { convertOptions } from './convert-options.js';
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
    summary: 'Serve the models of a repository over gRPC until told to stop.',
    introduction:
      'Loads the models, warms them up, and answers calls until SIGTERM or Ctrl-C; then it finishes the calls it ' +
      'has admitted and exits.',
    options: optionRows(SERVE_OPTIONS),
  },
  classify: {
    usage: 'vitserve classify [options] FILE…',
    summary: 'Send image files to a running server and print its predictions.',
    introduction:
      'Sends each JPEG, PNG or WebP file to a running server and prints the predicted labels, best first.',
    options: optionRows(CLASSIFY_OPTIONS),
  },
  import: {
    usage: 'vitserve import [options] FOLDER|FILE',
    summary: 'Put an ONNX model that others have exported into the model repository.',
    introduction:
      'Recognises the export and what lies beside it, prepares the graph for serving, compares it with the original, ' +
      'and writes it with a manifest into the model repository. What is missing is asked for, all at once.',
    options: optionRows(importOptions(SERVE_OPTIONS.models)),
  },
  convert: {
    usage: 'vitserve convert [options] FOLDER|FILE',
    summary: 'Turn a checkpoint of a ViT or DeiT into a model of the repository, without Python.',
    introduction:
      'Reads safetensors and config.json as Hugging Face transformers or timm write them, builds the graph, and writes it ' +
      'with a manifest into the model repository.',
    options: optionRows(convertOptions(SERVE_OPTIONS.models)),
  },
  quantize: {
    usage: 'vitserve quantize [options] MODEL_FOLDER',
    summary: 'Make a smaller, faster version of a model: int8 for the CPU, float16 for CUDA.',
    introduction:
      'Rewrites the graph of a model folder, compares it with its source in size, speed and answers, and writes it as a ' +
      'new version.',
    options: optionRows(QUANTIZE_OPTIONS),
  },
  inspect: {
    usage: 'vitserve inspect [options] MODEL_FOLDER|FILE|--live',
    summary: 'Tell what a model is, or what a running server does now.',
    introduction:
      'Reads a model folder or a single ONNX file and tells what is in it: size, work, inputs, outputs, labels, origin. Exit ' +
      'code 1 where something is wrong with it. With --live it takes no file and asks a running server.',
    options: optionRows(inspectOptions(SERVE_OPTIONS)),
  },
  'install-cuda': {
    usage: 'vitserve install-cuda [options]',
    summary: 'Put the CUDA provider of onnxruntime in place, and say what else CUDA needs here.',
    introduction:
      'Fetches the libraries with which the installed onnxruntime runs models on NVIDIA GPUs, makes sure that they are the right ' +
      'ones, and puts them where it looks for them. Then tries them, and tells what is missing.',
    options: optionRows(INSTALL_CUDA_OPTIONS),
  },
  bench: {
    usage: 'vitserve bench [options] [FILE|FOLDER…]',
    summary: 'Put a running server under load and report its latency and throughput.',
    introduction:
      'Sends images to a running server, from a number of callers or at a rate, and prints what became of the calls, how long ' +
      'they took and where. Without a FILE or FOLDER of JPEG, PNG or WebP files it draws a picture of the size of a photo. ' +
      'Ctrl-C ends it with the figures so far. Exit code 1 if no call was answered, or the server was lost.',
    options: optionRows(benchOptions(CLASSIFY_OPTIONS)),
  },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof COMMANDS;

export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly CommandName[];
