#!/usr/bin/env node
/**
 * The program: command line and environment in, exit code out. It chooses the command and does
 * nothing else.
 *
 * It loads each part when it is needed: a server loads none of the tools, no graph code and no
 * onnxruntime. It checks the limit of open files first, while it can still report it.
 */
import { readFileSync } from 'node:fs';
import type { CommandName } from './cli/commands.js';
import { SetupError } from './errors.js';
import { exit, guardOutput } from './system/standard-output.js';
import { describeSystemError, openFilesLimit } from './system/system-errors.js';
import { outliveTerminals } from './system/terminals.js';

type Program = (
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  version: string,
) => Promise<number>;

const PROGRAMS: Record<CommandName, Program> = {
  serve: async (...given) => (await import('./server/command.js')).serve(...given),
  classify: async (argv, environment) =>
    (await import('./client/classify/command.js')).classify(argv, environment),
  import: async (...given) => (await import('./tools/import/command.js')).importModel(...given),
  convert: async (...given) => (await import('./tools/convert/command.js')).convert(...given),
  quantize: async (...given) => (await import('./tools/quantize/command.js')).quantize(...given),
  evaluate: async (argv, environment) =>
    (await import('./tools/evaluate/command.js')).evaluate(argv, environment),
  inspect: async (argv, environment) =>
    (await import('./tools/inspect/command.js')).inspect(argv, environment),
  'install-cuda': async (argv, environment) =>
    (await import('./tools/install-cuda/command.js')).installCuda(argv, environment),
  bench: async (argv, environment) => {
    const { bench } = await import('./client/bench/command.js');
    return bench(argv, environment, async (...size) =>
      (await import('./workers/decode/draw.js')).drawJpeg(...size),
    );
  },
};

/** Node opens many files of the program at a time: with fewer it reports some as missing. */
const LEAST_OPEN_FILES = 128;

/** How long a server that cannot start waits until its error is read. */
const SERVER_LAST_WORDS_MS = 1_000;

function version(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function run([command, ...argv]: readonly string[]): Promise<number> {
  const limit = openFilesLimit();
  if (limit !== null && limit < LEAST_OPEN_FILES) {
    throw new SetupError('environment', [
      `the limit of open files is ${limit}, and vitserve needs at least ${LEAST_OPEN_FILES}: ` +
        'raise it, for example with "ulimit -n 4096"',
    ]);
  }
  const { asksForHelp, commandHelp, generalHelp } = await import('./cli/help.js');
  const { COMMAND_NAMES } = await import('./cli/commands.js');
  if (command !== 'serve' || asksForHelp(argv)) guardOutput();
  if (command === undefined) {
    process.stderr.write(generalHelp());
    return 2;
  }
  if (command === 'help')
    return await run(argv.length === 0 ? ['--help'] : [argv[0] ?? '', '--help']);
  if (command === '--version') {
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  if (asksForHelp([command])) {
    process.stdout.write(generalHelp());
    return 0;
  }
  if (!(COMMAND_NAMES as readonly string[]).includes(command)) {
    const { nearestName } = await import('./cli/nearest.js');
    const nearest = nearestName(command, COMMAND_NAMES);
    const hint = nearest === undefined ? '' : `; did you mean "${nearest}"?`;
    throw new SetupError('usage', [
      `unknown command "${command}"${hint} ("vitserve --help" lists the commands)`,
    ]);
  }
  if (asksForHelp(argv)) {
    process.stdout.write(commandHelp(command as CommandName));
    return 0;
  }
  return await PROGRAMS[command as CommandName](argv, process.env, version());
}

/**
 * Process 1 of a container gets only the signals that it has handlers for: without these, Ctrl-C
 * would not end a command, nor `docker stop` a server that has just begun. Where a command has its
 * own handlers, these do nothing.
 */
if (process.pid === 1) {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) process.exit(code);
    });
  }
}
outliveTerminals();

try {
  await exit(await run(process.argv.slice(2)));
} catch (error) {
  guardOutput();
  const problems = error instanceof SetupError ? error.problems : [describeSystemError(error)];
  for (const problem of problems) process.stderr.write(`vitserve: ${problem}\n`);
  const lastWordsMs = process.argv[2] === 'serve' ? SERVER_LAST_WORDS_MS : undefined;
  await exit(error instanceof SetupError && error.kind === 'usage' ? 2 : 1, lastWordsMs);
}
