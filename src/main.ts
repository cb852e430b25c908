#!/usr/bin/env node
/**
 * The program: command line and environment in, exit code out. Which command, what it is told, and nothing else.
 */
import { readFileSync } from 'node:fs';
import { COMMAND_NAMES, type CommandName } from './config/commands.js';
import { asksForHelp, commandHelp, generalHelp } from './config/help.js';
import { nearestName } from './config/nearest.js';
import { messageOf, SetupError } from './errors.js';

type Program = (argv: readonly string[], environment: NodeJS.ProcessEnv, version: string) => Promise<number>;

/** Each is loaded when it is called, so that a server holds nothing of the tools: no graph room, no onnxruntime. */
const PROGRAMS: Record<CommandName, Program> = {
  serve: async (...given) => (await import('./commands/serve.js')).serve(...given),
  classify: async (argv, environment) => (await import('./commands/classify.js')).classify(argv, environment),
  import: async (...given) => (await import('./commands/import.js')).importModel(...given),
  convert: async (...given) => (await import('./commands/convert.js')).convert(...given),
  quantize: async (...given) => (await import('./commands/quantize.js')).quantize(...given),
  inspect: async (argv, environment) => (await import('./commands/inspect.js')).inspect(argv, environment),
  'install-cuda': async (argv, environment) =>
    (await import('./commands/install-cuda.js')).installCuda(argv, environment),
  bench: async (argv, environment) => (await import('./commands/bench.js')).bench(argv, environment),
};

function version(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function run([command, ...argv]: readonly string[]): Promise<number> {
  if (command === undefined) {
    process.stderr.write(generalHelp());
    return 2;
  }
  if (command === 'help') return await run(argv.length === 0 ? ['--help'] : [argv[0] ?? '', '--help']);
  if (command === '--version') {
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  if (asksForHelp([command])) {
    process.stdout.write(generalHelp());
    return 0;
  }
  if (!(COMMAND_NAMES as readonly string[]).includes(command)) {
    const nearest = nearestName(command, COMMAND_NAMES);
    const hint = nearest === undefined ? '' : `; did you mean "${nearest}"?`;
    throw new SetupError('usage', [`there is no command "${command}"${hint} ("vitserve --help" lists the commands)`]);
  }
  if (asksForHelp(argv)) {
    process.stdout.write(commandHelp(command as CommandName));
    return 0;
  }
  return await PROGRAMS[command as CommandName](argv, process.env, version());
}

/**
 * Process 1 of a container gets no signal that it has no handler for, so without these Ctrl-C would not end a command, nor
 * `docker stop` a server that has only begun. Commands that have handlers of their own are left to them.
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

try {
  process.exit(await run(process.argv.slice(2)));
} catch (error) {
  const problems = error instanceof SetupError ? error.problems : [messageOf(error)];
  for (const problem of problems) process.stderr.write(`vitserve: ${problem}\n`);
  process.exit(error instanceof SetupError && error.kind === 'usage' ? 2 : 1);
}
