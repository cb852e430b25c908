/**
 * Writes `docs/reference/options.md` from the option tables. `tools/generate.mjs` stores it; the
 * build fails if the stored file differs, so the documentation stays in step with the program.
 */

import { COMMAND_NAMES, COMMANDS, type CommandName } from './commands.js';
import { EXIT_CODES, wrap } from './help.js';
import { defaultText, GROUPS, type OptionRow } from './option.js';

/** Shown in the introduction, and loaded by a test: an example that no longer works fails it. */
export const EXAMPLE_CONFIG = {
  address: '0.0.0.0:50051',
  'http-address': '0.0.0.0:8080',
  'execution-provider': 'cuda',
  permits: 512,
  'max-image-bytes': '4MiB',
  'drain-delay': '5s',
  reflection: false,
};

const INTRODUCTION = `<!-- Generated from src/cli/*options.ts by npm run generate. Edit those files. -->

# Options

\`vitserve serve\` needs no options: it serves the model of the package, to this machine only, with
processes and limits that fit the machine. The first options to set:

- [\`address\`](#--address) and [\`http-address\`](#--http-address): \`0.0.0.0:50051\` and
  \`0.0.0.0:8080\`, so that other machines reach the server;
- [\`model-repository\`](#--model-repository): your own models;
- [\`execution-provider\`](#--execution-provider): \`cuda\` on a machine with a GPU, so that the
  server does not start without it;
- [\`tls-cert\`](#--tls-cert) and [\`token-file\`](#--token-file): [security.md](../operate/security.md);
- [\`drain-delay\`](#--drain-delay): a few seconds behind a load balancer.

Leave an option at \`auto\` until a measurement says otherwise. At start the server measures the model
on the machine and logs what it chose.

## Where to set an option

The first of these that sets an option wins; otherwise its default applies:

1. a flag: \`--permits 512\` or \`--permits=512\`; \`--reflection\` or \`--no-reflection\`;
2. an environment variable: \`VITSERVE_\` and the name in capitals with underscores, such as
   \`VITSERVE_MAX_BATCH_SIZE\`. An empty variable counts as unset;
3. the config file of \`vitserve serve\`, which [\`config\`](#--config) names: a JSON object by option
   name. \`null\` counts as unset.

\`\`\`json
${JSON.stringify(EXAMPLE_CONFIG, undefined, 2)}
\`\`\`

The first log line names everything that was set, and where. The server does not start with an
unknown name, with an invalid value (even where another place overrides it), or with options that
contradict each other. It reports all of them at once. It ignores the variables that Kubernetes sets
for a Service called \`vitserve\`. Relative paths start at the working directory.

## Values

| Value | Written as |
|---|---|
| DURATION | a whole number with \`ms\`, \`s\`, \`m\` or \`h\`, up to \`24h\`: \`250ms\`, \`5s\` |
| BYTES | a whole number, alone or with \`KiB\`, \`MiB\` or \`GiB\` (powers of 1024): \`16MiB\` |
| HOST:PORT | an IPv6 host in brackets: \`127.0.0.1:50051\`, \`[::1]:50051\` |
| SIZE:MS,… | milliseconds by ascending batch size, from 1: \`simulated:1:1.0,8:2.2,32:6.5\` |
`;

export function renderConfigurationDoc(): string {
  const sections = COMMAND_NAMES.map((command) => {
    const { introduction, usage, options } = COMMANDS[command];
    const ordered = GROUPS.flatMap((group) => options.filter((option) => option.group === group));
    return [
      `## vitserve ${command}`,
      '',
      `\`${usage}\``,
      '',
      ...wrap(introduction, ''),
      '',
      '| Option | Value | Default | Meaning |',
      '|---|---|---|---|',
      ...ordered.map((option) => row(command, option)),
      '',
    ].join('\n');
  });
  return [INTRODUCTION, ...sections, exitCodes()].join('\n');
}

function row(command: CommandName, option: OptionRow): string {
  const name = `<a id="${anchor(command, option)}"></a>\`${option.name}\``;
  const cells = [name, `\`${valueText(option)}\``, code(option), option.summary];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** The commands share option names, but the anchors of a page are unique. */
function anchor(command: CommandName, option: OptionRow): string {
  return command === 'serve' ? `--${option.name}` : `${command}---${option.name}`;
}

/** The placeholder, with the range of a whole number in place of its N. */
function valueText({ type }: OptionRow): string {
  const range = /from (\d+) to (\d+)/.exec(type.accepts);
  const isNumber = type.kind === 'integer' || type.kind === 'integers';
  return range !== null && isNumber
    ? type.placeholder.replace('N', `${range[1]}…${range[2]}`)
    : type.placeholder;
}

/** A default as code if it can be typed, as prose if the text only describes it. */
function code(option: OptionRow): string {
  const text = defaultText(option);
  return option.defaultText === undefined && option.default !== null ? `\`${text}\`` : text;
}

function exitCodes(): string {
  const rows = EXIT_CODES.map(([exitCode, meaning]) => `| ${exitCode} | ${meaning} |`);
  return ['## Exit codes', '', '| Code | Meaning |', '|---|---|', ...rows, ''].join('\n');
}
