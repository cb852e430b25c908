/** The commands that take options, with the table of each: what `--help` and the documentation walk through. */

import { type OptionRow, optionRows } from './option.js';
import { CLASSIFY_OPTIONS, SERVE_OPTIONS } from './options.js';

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
    introduction: 'Sends each JPEG, PNG or WebP file to a running server and prints the predicted labels, best first.',
    options: optionRows(CLASSIFY_OPTIONS),
  },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof COMMANDS;

export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly CommandName[];
