#!/usr/bin/env node
/**
 * The program: command line and environment in, exit code out. Which command, what it is told, and nothing else.
 */
import { readFileSync } from 'node:fs';
import { classify } from './commands/classify.js';
import { convert } from './commands/convert.js';
import { importModel } from './commands/import.js';
import { inspect } from './commands/inspect.js';
import { quantize } from './commands/quantize.js';
import { serve } from './commands/serve.js';
import { COMMAND_NAMES, type CommandName } from './config/commands.js';
import { asksForHelp, commandHelp, generalHelp } from './config/help.js';
import { nearestName } from './config/nearest.js';
import { messageOf, SetupError } from './errors.js';

function version(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function run([command, ...argv]: readonly string[]): Promise<number> {
  if (command === undefined) {
    process.stderr.write(generalHelp());
    return 2;
  }
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
  if (command === 'quantize') return await quantize(argv, process.env, version());
  if (command === 'inspect') return await inspect(argv, process.env);
  if (command === 'convert') return await convert(argv, process.env, version());
  if (command === 'import') return await importModel(argv, process.env, version());
  return command === 'serve' ? await serve(argv, process.env, version()) : await classify(argv, process.env);
}

try {
  process.exit(await run(process.argv.slice(2)));
} catch (error) {
  const problems = error instanceof SetupError ? error.problems : [messageOf(error)];
  for (const problem of problems) process.stderr.write(`vitserve: ${problem}\n`);
  process.exit(error instanceof SetupError && error.kind === 'usage' ? 2 : 1);
}
