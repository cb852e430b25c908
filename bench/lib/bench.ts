/**
 * What a benchmark is: one line about it, its options, and what it does with them. `run.ts` finds
 * benchmarks by the names of their files.
 */
import { parseArgs } from 'node:util';

export interface Option<Value> {
  readonly about: string;
  /** As it would be given; null: nothing. */
  readonly initial: string | null;
  readonly type: 'string' | 'boolean';
  readonly read: (given: readonly string[]) => Value;
}

type Options = Readonly<Record<string, Option<unknown>>>;
type Values<Given extends Options> = {
  readonly [Name in keyof Given]: Given[Name] extends Option<infer Value> ? Value : never;
};

export interface Bench {
  readonly about: string;
  readonly options: Options;
  /** What it takes besides options, for --help; empty: nothing. */
  readonly operands: string;
  readonly run: (argv: readonly string[]) => Promise<void>;
}

export function bench<Given extends Options>(definition: {
  readonly about: string;
  readonly options: Given;
  readonly operands?: string;
  readonly run: (given: Values<Given>, operands: readonly string[]) => Promise<void>;
}): Bench {
  const { about, options, operands = '', run } = definition;
  return {
    about,
    options,
    operands,
    run: (argv) => run(...readArguments(options, operands, argv)),
  };
}

function readArguments<Given extends Options>(
  options: Given,
  operands: string,
  argv: readonly string[],
): [Values<Given>, readonly string[]] {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      Object.entries(options).map(([name, { type }]) => [name, { type, multiple: true }]),
    ),
    allowPositionals: operands !== '',
  });
  const read = Object.entries(options).map(([name, { initial, read }]) => {
    const given = values[name]?.map(String) ?? (initial === null ? [] : [initial]);
    return [name, read(given)];
  });
  return [Object.fromEntries(read), positionals];
}

function option<Value>(
  about: string,
  initial: string | null,
  read: Option<Value>['read'],
): Option<Value> {
  return { about, initial, type: 'string', read };
}

function toNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw new Error(`${text} is not a number`);
  return value;
}

const split = (text: string) => text.split(',').filter((part) => part !== '');

export const text = (about: string, initial: string) =>
  option(about, initial, (given) => given.at(-1) as string);
export const optional = (about: string) => option(about, null, (given) => given.at(-1) ?? null);
export const texts = (about: string, initial: string) =>
  option(about, initial, (given) => split(given.at(-1) as string));
export const repeated = (about: string) => option(about, null, (given) => given);
export const number = (about: string, initial: number) =>
  option(about, String(initial), (given) => toNumber(given.at(-1) as string));
export const numbers = (about: string, initial: string) =>
  option(about, initial, (given) => split(given.at(-1) as string).map(toNumber));
export const flag = (about: string): Option<boolean> => ({
  ...option(about, null, (given) => given.at(-1) === 'true'),
  type: 'boolean',
});

/** Options that several benchmarks have. */
export const seconds = (initial: number) => number('of each measurement', initial);
export const rounds = (initial: number) => number('in turns; medians are printed', initial);
export const photos = () => optional('a folder of JPEG files (../shared/data/photos, or drawn)');
export const repository = () => optional('a model repository (the default model)');
export const builds = () =>
  repeated('a build to serve, its dist folder or main script; several take turns (dist)');

/** What --help says. */
export function usageOf(name: string, { about, options, operands }: Bench): string {
  const rows = Object.entries(options).map(([option, { about, initial, type }]) => [
    `--${option}${type === 'string' ? ' …' : ''}`,
    `${about}${initial === null ? '' : ` [${initial}]`}`,
  ]);
  const width = Math.max(0, ...rows.map(([left = '']) => left.length));
  return [
    about,
    '',
    `npm run bench -- ${[name, operands].join(' ').trim()}${rows.length > 0 ? ' [options]' : ''}`,
    ...rows.map(([left = '', right]) => `  ${left.padEnd(width)}  ${right}`),
  ].join('\n');
}
