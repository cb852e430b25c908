/**
 * The options as JSON Schema accept everything that the server accepts, except numbers in quotes,
 * and reject what the server rejects.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { COMMANDS } from '#vitserve/cli/commands.js';
import { jsonToText } from '#vitserve/cli/config-file.js';
import { settingsSchema } from '#vitserve/cli/json-schema.js';
import type { OptionRow } from '#vitserve/cli/option.js';
import type { JsonSchema } from '#vitserve/cli/value-types.js';

const { options } = COMMANDS.serve;
const schema = settingsSchema(options);
const properties = schema.properties as Readonly<Record<string, JsonSchema>>;

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  integer: Number.isInteger,
};

/** Each keyword of the option table, with JSON Schema's meaning. */
const KEYWORDS: Readonly<Record<string, (operand: unknown, value: unknown) => boolean>> = {
  description: () => true,
  type: (type, value) => (TYPES[String(type)] as (value: unknown) => boolean)(value),
  const: (only, value) => value === only,
  enum: (choices, value) => (choices as unknown[]).includes(value),
  anyOf: (schemas, value) => (schemas as JsonSchema[]).some((each) => accepts(each, value)),
  minimum: (least, value) => typeof value !== 'number' || value >= Number(least),
  maximum: (most, value) => typeof value !== 'number' || value <= Number(most),
  minLength: (least, value) => typeof value !== 'string' || value.length >= Number(least),
  pattern: (pattern, value) =>
    typeof value !== 'string' || new RegExp(String(pattern), 'u').test(value),
};

function accepts(part: JsonSchema, value: unknown): boolean {
  return Object.entries(part).every(([keyword, operand]) => {
    const check = KEYWORDS[keyword];
    assert.ok(check, keyword);
    return check(operand, value);
  });
}

function serverAccepts(option: OptionRow, value: unknown): boolean {
  const text = jsonToText(option, value);
  return text !== undefined && option.type.parse(text) !== undefined;
}

const TEXTS = [
  '|auto|cpu|cuda|sharp|json|pretty|debug|a name|/a/path|models|1,4,16|1,',
  '250ms|5s|0s|000ms|2m|1h|5 s|-5s|1.5s|5d|16MiB|512KiB|1GiB|16MB|16m',
  '0.0.0.0:50051|[::]:50051|localhost:80|localhost|:80|::1:80|1:1.0,8:2.2,32:6.5|1:1.5|2:1.0',
].flatMap((texts) => texts.split('|'));
const SAMPLES = [...TEXTS, true, false, 0, 1, 2, 8, 100, 1024, 65_536, 1_000_000, 2 ** 30, -1, 0.5];

describe('the options as JSON Schema', () => {
  test('have a row for every option except the config file, and accept no others', () => {
    assert.deepEqual(
      Object.keys(properties),
      options.map(({ name }) => name).filter((name) => name !== 'config'),
    );
    assert.equal(schema.additionalProperties, false);
  });

  for (const option of options.filter(({ name }) => name in properties)) {
    const part = properties[option.name] as JsonSchema;

    test(`${option.name}: what the schema rejects, the server rejects`, () => {
      for (const value of SAMPLES) {
        if (serverAccepts(option, value)) assert.ok(accepts(part, value), JSON.stringify(value));
      }
      assert.ok(SAMPLES.some((value) => accepts(part, value)));
    });

    // Any text is a path or a name.
    if (option.type.kind !== 'path' && option.type.kind !== 'string') {
      test(`${option.name}: what the server rejects, the schema rejects`, () => {
        for (const value of SAMPLES) {
          if (!serverAccepts(option, value))
            assert.ok(!accepts(part, value), JSON.stringify(value));
        }
      });
    }
  }
});
