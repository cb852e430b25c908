/** A value that some source gives to an option: found, but not yet read. */

import type { OptionRow } from './option.js';

/** Where an option's value comes from, weakest first. */
export type OptionSource = 'default' | 'file' | 'environment' | 'flag';

export interface GivenValue {
  readonly option: OptionRow;
  readonly source: Exclude<OptionSource, 'default'>;
  /**
   * The place as an operator would look for it: `--permits`, `VITSERVE_PERMITS`, `permits in
   * vitserve.json`.
   */
  readonly where: string;
  /** Text, or any JSON value from a config file. */
  readonly value: unknown;
}

/** A value as given, on one line and short enough for a log. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

/** A name or path as given; quoted if it holds anything that could break a line or a terminal. */
export function oneLine(text: string): string {
  return /^[\p{L}\p{N}\p{P}\p{S} ]+$/u.test(text) ? text : quote(text);
}
