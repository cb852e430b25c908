/**
 * One option: a row of the tables in `options.ts`, and the names derived from it.
 *
 * A row is the only source of the option's flag (`--name`), environment variable (`VITSERVE_NAME`),
 * config-file key (`name`), line in `--help` and row in `docs/reference/options.md`.
 */

import type { ValueType } from './value-types.js';

/** Headings of `--help` and of the documentation, in the order in which they appear there. */
export const GROUPS = [
  'Serving',
  'Security',
  'Model',
  'Processes',
  'Limits',
  'Lifecycle',
  'Logging',
  'Source',
  'Request',
  'Load',
  'Output',
  'Checks',
] as const;

export type Group = (typeof GROUPS)[number];

export interface Option<Value> {
  /** Kebab-case: the flag without its dashes and the config-file key. */
  readonly name: string;
  readonly group: Group;
  readonly type: ValueType<NonNullable<Value>>;
  readonly default: Value;
  /** Describes the default if its value can't: it depends on the machine or is empty. */
  readonly defaultText?: string;
  /** One line of `--help` and of the documentation: what it sets, and what `auto` chooses. */
  readonly summary: string;
}

/** Keyed by the property that the option becomes in the loaded settings. */
export type OptionTable<Settings> = {
  readonly [Property in keyof Settings]: Option<Settings[Property]>;
};

/** An option with the property it sets, for code that walks a table of any type. */
export interface OptionRow extends Option<unknown> {
  readonly property: string;
}

export function optionRows<Settings extends object>(
  table: OptionTable<Settings>,
): readonly OptionRow[] {
  const entries: [string, Option<unknown>][] = Object.entries(table);
  return entries.map(([property, option]) => ({ ...option, property }));
}

export function environmentName(option: { readonly name: string }): string {
  return `VITSERVE_${option.name.toUpperCase().replaceAll('-', '_')}`;
}

export function defaultText(option: OptionRow): string {
  if (option.defaultText !== undefined) return option.defaultText;
  return option.default === null || option.default === undefined
    ? 'none'
    : option.type.format(option.default);
}
