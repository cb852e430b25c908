/**
 * A config file as given values: one JSON object whose keys are option names. A value may be text,
 * as after a flag, or the JSON value of the same meaning; null counts as unset. Keys are read one
 * by one, so that one mistake does not hide the next.
 */

import { messageOf } from '../errors.js';
import { type GivenValue, oneLine, quote } from './given.js';
import { nearestName } from './nearest.js';
import type { OptionRow } from './option.js';

/**
 * `label` is the file as the operator wrote it, for messages; `namedBy` the flag or variable that
 * names it.
 */
export function readConfigFile(
  options: readonly OptionRow[],
  file: { readonly path: string; readonly label: string; readonly namedBy: string },
  readFile: (path: string) => string,
): { readonly given: readonly GivenValue[]; readonly problems: readonly string[] } {
  let content: unknown;
  try {
    content = JSON.parse(readFile(file.path).replace(/^\uFEFF/, ''));
  } catch (error) {
    const cause = messageOf(error).replace(/\s+/g, ' ');
    const problem =
      error instanceof SyntaxError
        ? `${file.label} is not JSON: ${cause}`
        : `can't read ${file.label}: ${cause}`;
    return { given: [], problems: [`${file.namedBy}: ${problem}`] };
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    return {
      given: [],
      problems: [`${file.namedBy}: ${file.label} must hold a JSON object, not ${quote(content)}`],
    };
  }

  const byName = new Map(options.map((option) => [option.name, option]));
  const given: GivenValue[] = [];
  const problems: string[] = [];
  for (const [name, value] of Object.entries(content)) {
    const option = byName.get(name);
    const where = `${oneLine(name)} in ${file.label}`;
    if (option?.name === 'config') problems.push(`${where}: a config file can't name another one`);
    else if (option !== undefined) {
      if (value !== null) given.push({ option, source: 'file', where, value });
    } else {
      const nearest = nearestName(name, byName.keys());
      const hint = nearest === undefined ? 'see vitserve serve --help' : `did you mean ${nearest}?`;
      problems.push(`unknown option ${where}: ${hint}`);
    }
  }
  return { given, problems };
}

/**
 * The text of the same meaning as a JSON value of an option, or undefined if the option has no such
 * JSON form.
 */
export function jsonToText(option: OptionRow, value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === option.type.json ? String(value) : undefined;
}
