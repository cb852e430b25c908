/**
 * The texts of `--help`, from the option tables, wrapped to 100 columns: wide enough for a sentence
 * and narrow enough for a terminal beside another.
 */

import { COMMAND_NAMES, COMMANDS, type CommandName } from './commands.js';
import { defaultText, environmentName, GROUPS, type OptionRow } from './option.js';

const COLUMNS = 100;

/** Each exit code of the program with its meaning. */
export const EXIT_CODES = [
  [0, 'done, or stopped as asked'],
  [1, 'could not start or could not continue'],
  [2, 'wrong usage: flags, variables or config file'],
  [141, 'the reader of standard output has closed it, as in "vitserve classify *.jpg | head -1"'],
] as const;

/** Whether a command line asks for help instead of for the command to run. */
export function asksForHelp(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).some(
    (argument) => argument === '--help' || argument === '-h',
  );
}

/** The text of `vitserve --help`. */
export function generalHelp(): string {
  const width = Math.max(...COMMAND_NAMES.map((name) => name.length));
  return [
    'Usage: vitserve <command> [options]',
    '',
    'A gRPC server for image classification with Vision Transformers.',
    '',
    'Commands:',
    ...COMMAND_NAMES.map((name) => `  ${name.padEnd(width)}  ${COMMANDS[name].summary}`),
    '',
    'Options:',
    '  --help     Show this text, or the options of a command: vitserve serve --help.',
    '  --version  Show the version.',
    '',
    'Exit codes:',
    ...EXIT_CODES.map(([code, meaning]) => `  ${code}  ${meaning}`),
    '',
  ].join('\n');
}

/** The text of `vitserve <command> --help`. */
export function commandHelp(command: CommandName): string {
  const { usage, introduction, options } = COMMANDS[command];
  const lines = [`Usage: ${usage}`, '', ...wrap(introduction, ''), ''];
  for (const group of GROUPS) {
    const members = options.filter((option) => option.group === group);
    if (members.length > 0) lines.push(`${group}:`, ...members.flatMap(describe), '');
  }
  lines.push(...wrap(sourcesOf(options), ''), '');
  return lines.join('\n');
}

/** A flag with the placeholder of its value. */
export function flagUsage(option: OptionRow): string {
  return option.type.kind === 'boolean'
    ? `--[no-]${option.name}`
    : `--${option.name} ${option.type.placeholder}`;
}

function describe(option: OptionRow): string[] {
  const facts = `Default: ${defaultText(option)}. Environment: ${environmentName(option)}.`;
  return [`  ${flagUsage(option)}`, ...wrap(option.summary, '      '), ...wrap(facts, '      ')];
}

function sourcesOf(options: readonly OptionRow[]): string {
  const hasFile = options.some((option) => option.name === 'config');
  const order = hasFile
    ? 'A flag overrides its environment variable, and both override the config file.'
    : 'A flag overrides its environment variable.';
  return `${order} DURATION is a number with ms, s, m or h${
    options.some((option) => option.type.kind === 'bytes')
      ? '; BYTES is a number, alone or with KiB, MiB or GiB'
      : ''
  }. docs/reference/options.md has the ranges.`;
}

/** Words in lines of at most 100 columns. */
export function wrap(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    const longer = line === indent ? indent + word : `${line} ${word}`;
    if (longer.length > COLUMNS && line !== indent) {
      lines.push(line);
      line = indent + word;
    } else line = longer;
  }
  return [...lines, line];
}
