/**
 * Writes `docs/reference/options.md` from the option tables. `tools/generate.mjs` stores it; the
 * build fails if the stored file differs, so the documentation stays in step with the program.
 */

import { COMMAND_NAMES, COMMANDS, type CommandName } from './commands.js';
import { EXIT_CODES } from './help.js';
import { defaultText, environmentName, GROUPS, type OptionRow } from './option.js';

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

const INTRODUCTION = `<!-- Generated from src/cli/options.ts by npm run generate. Edit that file. -->

# Configuration

vitserve needs no configuration: \`vitserve serve\` serves the model of the package, reachable from this machine only, with
processes and limits that fit the machine. You will most likely set:

- [\`address\`](#--address) and [\`http-address\`](#--http-address), to be reached from elsewhere: \`0.0.0.0:50051\` and
  \`0.0.0.0:8080\`;
- [\`model-repository\`](#--model-repository), to serve your own models;
- [\`execution-provider\`](#--execution-provider): \`cuda\` on machines with a GPU;
- [\`tls-cert\`](#--tls-cert) and [\`token-file\`](#--token-file), for calls over a network: see [security.md](../operate/security.md);
- [\`drain-delay\`](#--drain-delay), behind a load balancer.

Leave an option at \`auto\` until a measurement says otherwise: at start the server measures the model on the machine, and logs
what it chose.

## Where settings come from

You can set every option in three places. The first that sets it wins:

1. a flag: \`--permits 512\` or \`--permits=512\`; for true or false \`--reflection\`, \`--no-reflection\` or
   \`--reflection=false\`;
2. an environment variable: \`VITSERVE_PERMITS=512\`, the flag in capitals after \`VITSERVE_\`. An empty variable counts as
   unset;
3. the config file that [\`config\`](#--config) names: a JSON object whose keys are the flags without their dashes.
   \`null\` counts as unset.

Otherwise the default applies. Only \`vitserve serve\` reads a config file. Its first log line names everything that was set, and where.

\`\`\`json
${JSON.stringify(EXAMPLE_CONFIG, undefined, 2)}
\`\`\`

At start the server checks all three places and reports all mistakes at once: unknown flags, keys and variables that start with
\`VITSERVE_\`; invalid values, even if a stronger place overrides them; and settings that contradict each other. It ignores the
variables that Kubernetes sets for a Service called \`vitserve\`. Relative paths start at the working directory.

## Values

| Kind | Written as | Examples |
|---|---|---|
| duration | a whole number with its unit: \`ms\`, \`s\`, \`m\` or \`h\` | \`250ms\`, \`5s\`, \`2m\` |
| bytes | a whole number, alone or with \`KiB\`, \`MiB\` or \`GiB\` (powers of 1024) | \`500000\`, \`16MiB\` |
| address | host and port; an IPv6 host in brackets | \`127.0.0.1:50051\`, \`[::1]:50051\` |
| true or false | \`true\` or \`false\` | \`true\` |

In the config file you can write numbers, \`true\` and \`false\` with or without quotes.
`;

export function renderConfigurationDoc(): string {
  const sections = COMMAND_NAMES.map((command) => {
    const { introduction, usage, options } = COMMANDS[command];
    const lines = [`## vitserve ${command}`, '', `\`${usage}\``, '', introduction, ''];
    const groups = GROUPS.filter((group) => options.some((option) => option.group === group));
    for (const group of groups) {
      const members = options.filter((option) => option.group === group);
      lines.push(`### ${heading(command, group)}`, '', ...overview(command, members), '');
      lines.push(...members.flatMap((option) => explanation(command, option)));
    }
    return lines.join('\n');
  });
  return [INTRODUCTION, ...sections, exitCodes()].join('\n');
}

function overview(command: CommandName, options: readonly OptionRow[]): string[] {
  const rows = options.map((option) => {
    const name = `[\`${option.name}\`](#${anchor(command, option)})`;
    return `| ${name} | ${code(option)} | ${cell(option.summary)} |`;
  });
  return ['| Option | Default | Sets |', '|---|---|---|', ...rows];
}

function explanation(command: CommandName, option: OptionRow): string[] {
  const accepts = option.type.accepts;
  return [
    `#### \`${title(command, option)}\``,
    '',
    option.summary,
    '',
    option.reason,
    '',
    `Accepts ${accepts}. Default: ${code(option)}. Environment: \`${environmentName(option)}\`.`,
    '',
  ];
}

/** The commands share option names, but the links of a page need unique headings. */
function title(command: CommandName, option: OptionRow): string {
  return command === 'serve' ? `--${option.name}` : `${command} --${option.name}`;
}

function heading(command: CommandName, group: string): string {
  return command === 'serve' ? group : `${group} of ${command}`;
}

/** As GitHub makes one from a heading: lower case, blanks to dashes, no other punctuation. */
function anchor(command: CommandName, option: OptionRow): string {
  return title(command, option).replaceAll(' ', '-');
}

/** A default as code if it can be typed, as prose if the text only describes it. */
function code(option: OptionRow): string {
  const text = defaultText(option);
  return option.defaultText === undefined && option.default !== null ? `\`${text}\`` : text;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function exitCodes(): string {
  const rows = EXIT_CODES.map(([exitCode, meaning]) => `| ${exitCode} | ${meaning} |`);
  return ['## Exit codes', '', '| Code | Meaning |', '|---|---|', ...rows, ''].join('\n');
}
