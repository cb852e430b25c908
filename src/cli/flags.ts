/**
 * The command line as given values. Node's `parseArgs` splits it into tokens; this module decides
 * what they mean, so that one pass finds everything wrong with a command line: unknown flags,
 * missing values, flags given twice.
 */

import { parseArgs } from 'node:util';
import { type GivenValue, oneLine, quote } from './given.js';
import { nearestName } from './nearest.js';
import type { OptionRow } from './option.js';

export interface CommandLine {
  readonly given: readonly GivenValue[];
  /** Arguments that are not flags, in their order. */
  readonly positionals: readonly string[];
  readonly problems: readonly string[];
}

type Token = NonNullable<ReturnType<typeof parseArgs>['tokens']>[number];
type FlagToken = Extract<Token, { kind: 'option' }>;

export function readCommandLine(
  command: string,
  options: readonly OptionRow[],
  argv: readonly string[],
  takesFiles: boolean,
): CommandLine {
  const byName = new Map(options.map((option) => [option.name, option]));
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      options.map(({ name, type }) => [
        name,
        { type: type.kind === 'boolean' ? ('boolean' as const) : ('string' as const) },
      ]),
    ),
    tokens: true,
    strict: false,
    allowPositionals: true,
  });
  const texts = new Map<OptionRow, string>();
  const positionals: string[] = [];
  const problems: string[] = [];

  let before: Token | undefined;
  /**
   * The flag before was wrong and had no value of its own, so a following positional is most likely
   * its value.
   */
  let beforeWasWrong = false;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      const flag = before?.kind === 'option' && before.value === undefined ? before : undefined;
      const isYesOrNo = flag !== undefined && byName.get(flag.name)?.type.kind === 'boolean';
      if (isYesOrNo && /^(true|false)$/.test(token.value)) {
        problems.push(`${flag.rawName} ${token.value}: write ${flag.rawName}=${token.value}`);
      } else if (takesFiles) {
        positionals.push(token.value);
      } else if (!beforeWasWrong) {
        problems.push(
          `unexpected argument ${quote(token.value)}: vitserve ${command} takes flags only`,
        );
      }
      beforeWasWrong = false;
    } else if (token.kind === 'option' && token.rawName.startsWith('--')) {
      const reading = readFlag(command, byName, token);
      beforeWasWrong = 'problem' in reading && !token.inlineValue;
      if ('problem' in reading) problems.push(reading.problem);
      else {
        const earlier = texts.get(reading.option);
        if (earlier !== undefined && earlier !== reading.text) {
          problems.push(
            `--${reading.option.name} is given twice, as ${quote(earlier)} and as ${quote(reading.text)}: give it once`,
          );
        }
        texts.set(reading.option, reading.text);
      }
    } else {
      // One dash (reported below), or the `--` after which nothing is a flag.
      beforeWasWrong = token.kind === 'option';
    }
    before = token;
  }
  problems.push(...singleDashes(command, byName, tokens, argv));
  return {
    given: [...texts].map(([option, value]) => ({
      option,
      source: 'flag',
      where: `--${option.name}`,
      value,
    })),
    positionals,
    problems,
  };
}

function readFlag(
  command: string,
  byName: ReadonlyMap<string, OptionRow>,
  { name, rawName, value, inlineValue }: FlagToken,
): { option: OptionRow; text: string } | { problem: string } {
  const option = byName.get(name);
  if (option?.type.kind === 'boolean') return { option, text: value ?? 'true' };
  if (option !== undefined) {
    if (value === undefined)
      return { problem: `${rawName} needs a value: give ${option.type.accepts}` };
    // parseArgs takes any next argument as the value; if that is a flag, the value was forgotten.
    if (!inlineValue && value.startsWith('--')) {
      return {
        problem: `${rawName} needs a value, not ${oneLine(value)}: give ${option.type.accepts}`,
      };
    }
    return { option, text: value };
  }
  const negated = name.startsWith('no-') ? byName.get(name.slice('no-'.length)) : undefined;
  if (negated?.type.kind === 'boolean') {
    return inlineValue
      ? { problem: `${rawName} takes no value: write ${rawName} or --${negated.name}=true` }
      : { option: negated, text: 'false' };
  }
  if (negated !== undefined)
    return { problem: `unknown flag ${rawName}: --${negated.name} takes a value` };
  return { problem: unknownFlag(command, byName, rawName, name) };
}

function unknownFlag(
  command: string,
  byName: ReadonlyMap<string, OptionRow>,
  written: string,
  name: string,
): string {
  const flags = [...byName.values()].flatMap((option) =>
    option.type.kind === 'boolean' ? [option.name, `no-${option.name}`] : [option.name],
  );
  const nearest = nearestName(name, flags);
  const hint =
    nearest === undefined ? `see vitserve ${command} --help` : `did you mean --${nearest}?`;
  return `unknown flag ${oneLine(written)}: ${hint}`;
}

/**
 * There are no one-letter flags. parseArgs takes `-address` for a group of them and makes a token
 * of every letter, so these are reported from the arguments themselves, once each.
 */
function singleDashes(
  command: string,
  byName: ReadonlyMap<string, OptionRow>,
  tokens: readonly Token[],
  argv: readonly string[],
): string[] {
  if (!tokens.some((token) => token.kind === 'option' && !token.rawName.startsWith('--')))
    return [];
  const values = new Set(
    tokens.map((token) =>
      token.kind === 'option' && !token.inlineValue ? token.value : undefined,
    ),
  );
  const end = argv.indexOf('--');
  const flags = end === -1 ? argv : argv.slice(0, end);
  return flags
    .filter((argument) => /^-[^-]/.test(argument) && !values.has(argument))
    .map((argument) => argument.replace(/=.*$/s, ''))
    .map((written) => unknownFlag(command, byName, written, written.slice(1)));
}
