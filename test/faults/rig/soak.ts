/**
 * `npm run soak -- [SCENARIO] [--duration 10m] [--photos FOLDER] [--on-model] [--only CHECK] [--
 * SERVER FLAGS]`: plays a scenario on the built server and reports on standard output. Exit code 0:
 * it passes; 1: it fails, and the report says why; 2: wrong arguments. Ctrl-C ends the load; the
 * report then covers the time so far.
 */
import { parseArgs } from 'node:util';
import { filesIn } from '../../support/images.js';
import { OwnScope } from '../../support/server.js';
import { verdictText } from './report.js';
import type { Scenario } from './scenario.js';
import { checks } from './scenarios/checks.js';
import { drain } from './scenarios/drain.js';
import { kills } from './scenarios/kills.js';
import { mixed } from './scenarios/mixed.js';
import { overload } from './scenarios/overload.js';
import { rolling } from './scenarios/rolling.js';
import { steady } from './scenarios/steady.js';

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  mixed,
  steady,
  kills,
  overload,
  drain,
  rolling,
  checks,
};
const MOST_PHOTOS = 24;
const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

const say = (line: string) => void process.stdout.write(`${line}\n`);

function usage(): string {
  const scenarios = Object.entries(SCENARIOS).map(([name, { about, durationMs }]) => {
    return `  ${name.padEnd(10)}${about} (${durationMs / 60_000} min)`;
  });
  return [
    'npm run soak -- [SCENARIO] [--duration 90s|10m|1h] [--photos FOLDER] [--on-model] [--only CHECK] [-- SERVER FLAGS]',
    '',
    ...scenarios,
    '',
    'The first one is the default.',
  ].join('\n');
}

function durationOf(text: string): number | null {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(s|m|h)$/.exec(text) ?? [];
  return number === undefined || unit === undefined ? null : Number(number) * (UNITS[unit] ?? 0);
}

async function soak(args: readonly string[]): Promise<number> {
  const separator = args.indexOf('--');
  const own = separator < 0 ? args : args.slice(0, separator);
  const serverFlags = separator < 0 ? [] : args.slice(separator + 1);
  const options = {
    duration: { type: 'string' },
    photos: { type: 'string' },
    'on-model': { type: 'boolean' },
    only: { type: 'string' },
    help: { type: 'boolean' },
  } as const;
  const { values, positionals } = parseArgs({ args: [...own], options, allowPositionals: true });
  const [name = 'mixed', ...more] = positionals;
  const scenario = SCENARIOS[name];
  const durationMs =
    values.duration === undefined ? scenario?.durationMs : durationOf(values.duration);
  if (
    values.help === true ||
    scenario === undefined ||
    more.length > 0 ||
    durationMs === null ||
    durationMs === undefined
  ) {
    say(usage());
    return values.help === true ? 0 : 2;
  }
  const photos = values.photos === undefined ? null : filesIn(values.photos).slice(0, MOST_PHOTOS);
  const enough = new AbortController();
  process.removeAllListeners('SIGINT');
  process.once('SIGINT', () => enough.abort());

  const scope = new OwnScope();
  say(`${name}: ${scenario.about}`);
  say(
    `${new Date().toISOString()}, Node ${process.version}, ${durationMs / 1_000} s` +
      `${serverFlags.length > 0 ? `, server with ${serverFlags.join(' ')}` : ''}`,
  );
  try {
    const ending = await scenario.play({
      scope,
      durationMs,
      serverFlags,
      photos: photos?.map(({ bytes }) => bytes) ?? null,
      onModel: values['on-model'] === true,
      only: values.only ?? null,
      say,
      signal: enough.signal,
    });
    if ('skipped' in ending) {
      say(`SKIPPED: ${ending.skipped}`);
      return 0;
    }
    say(`\n${name}: ${verdictText(ending.reasons)}`);
    return ending.reasons.length === 0 ? 0 : 1;
  } finally {
    await scope.end();
  }
}

process.exitCode = await soak(process.argv.slice(2));
