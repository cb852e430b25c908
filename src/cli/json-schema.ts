/**
 * The options of `vitserve serve` as JSON Schema: what the chart's `values.schema.json` says about
 * its `config` key.
 *
 * It catches what a reader of YAML gets wrong: unknown names, numbers without a unit, words for
 * numbers, values far out of range. It accepts everything that the server accepts, but numbers and
 * booleans only without quotes, and a little more (a duration above 24 hours, a port above 65535),
 * which the server then rejects at start. It leaves out only the file that `config` names: a chart
 * does not need a second place of settings.
 */

import { defaultText, type OptionRow } from './option.js';
import type { JsonSchema } from './value-types.js';

export function settingsSchema(options: readonly OptionRow[]): JsonSchema {
  const properties = options
    .filter(({ name }) => name !== 'config')
    .map((option) => [
      option.name,
      {
        description: `${option.summary} Server's default: ${defaultText(option)}.`,
        ...option.type.schema,
      },
    ]);
  return {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(properties),
  };
}
