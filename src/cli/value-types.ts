/**
 * The types of options: how each is written, read, and described to an operator.
 *
 * Every source of settings provides text (a config file may also use plain JSON values, which
 * become that text), so a type has one reader. `parse` returns undefined for a value that it does
 * not accept and never throws; `format` writes a value such that `parse` reads the same value back.
 */

import { isIPv4, isIPv6 } from 'node:net';

export interface ValueType<Value> {
  readonly kind:
    | 'string'
    | 'path'
    | 'boolean'
    | 'integer'
    | 'integers'
    | 'choice'
    | 'duration'
    | 'bytes'
    | 'address'
    | 'execution-provider';
  /** Stands for the value in usage lines, such as `HOST:PORT`. */
  readonly placeholder: string;
  /** What is accepted, worded to follow "give". */
  readonly accepts: string;
  /** The JSON type that a config file may use besides text. */
  readonly json?: 'number' | 'boolean';
  /**
   * What the chart's `values.schema.json` lets through; `json-schema.ts` says how close that is.
   */
  readonly schema: JsonSchema;
  parse(text: string): Value | undefined;
  format(value: Value): string;
}

/** JSON Schema, draft 7. ECMAScript and RE2 (Helm's engine) read all patterns alike. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** Where a server listens or is reached. An IPv6 host has no brackets here. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** One row of a cost table: how long an execution of this many images takes. */
export interface BatchCost {
  readonly batchSize: number;
  readonly milliseconds: number;
}

/** What runs the models; `costs` by ascending batch size, the first of which is 1. */
export type ExecutionProvider =
  | { readonly kind: 'auto' | 'cpu' | 'cuda' }
  | { readonly kind: 'simulated'; readonly costs: readonly BatchCost[] };

/**
 * Timers of Node.js overflow at 24.8 days and then fire at once; a day is more than any option here
 * needs.
 */
const LONGEST_DURATION_MS = 24 * 3_600_000;
const DURATION_UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const BYTE_UNITS = { GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10 } as const;
const LARGEST_BATCH = 1024;

export function string(placeholder: string, accepts: string): ValueType<string> {
  return {
    kind: 'string',
    placeholder,
    accepts,
    schema: { type: 'string' },
    parse: (text) => text,
    format: (value) => value,
  };
}

/**
 * A file or folder. Reading does not change it; the loader resolves it against the working
 * directory.
 */
export function path(): ValueType<string> {
  return {
    kind: 'path',
    placeholder: 'PATH',
    accepts: 'a path',
    schema: { type: 'string', minLength: 1 },
    parse: (text) => (text === '' || text.includes('\0') ? undefined : text),
    format: (value) => value,
  };
}

export function boolean(): ValueType<boolean> {
  return {
    kind: 'boolean',
    placeholder: 'true|false',
    accepts: 'true or false',
    json: 'boolean',
    schema: { type: 'boolean' },
    parse: (text) => (text === 'true' ? true : text === 'false' ? false : undefined),
    format: String,
  };
}

export function integer(min: number, max: number): ValueType<number> {
  return {
    kind: 'integer',
    placeholder: 'N',
    accepts: `a whole number from ${min} to ${max}`,
    json: 'number',
    schema: { type: 'integer', minimum: min, maximum: max },
    parse: (text) => (/^\d{1,15}$/.test(text) ? within(Number(text), min, max) : undefined),
    format: String,
  };
}

/** Some whole numbers, at least one: `1,8,32`. */
export function integers(min: number, max: number): ValueType<readonly number[]> {
  const one = integer(min, max);
  return {
    kind: 'integers',
    placeholder: 'N,…',
    accepts: `whole numbers from ${min} to ${max}, separated by commas, such as 1,8,32`,
    schema: { type: 'string', pattern: '^\\d+(,\\d+)*$' },
    parse(text) {
      const values = text.split(',').map((part) => one.parse(part));
      return values.every((value) => value !== undefined) ? values : undefined;
    },
    format: (values) => values.join(','),
  };
}

export function choice<const Choice extends string>(
  ...choices: readonly Choice[]
): ValueType<Choice> {
  return {
    kind: 'choice',
    placeholder: choices.join('|'),
    accepts: `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`,
    schema: { enum: choices },
    parse: (text) => choices.find((accepted) => accepted === text),
    format: (value) => value,
  };
}

/** `auto`, or what the other type accepts. */
export function autoOr<Value>(type: ValueType<Value>): ValueType<Value | 'auto'> {
  return {
    ...type,
    placeholder: `auto|${type.placeholder}`,
    accepts: `auto or ${type.accepts}`,
    schema: { anyOf: [{ const: 'auto' }, type.schema] },
    parse: (text) => (text === 'auto' ? 'auto' : type.parse(text)),
    format: (value) => (value === 'auto' ? 'auto' : type.format(value)),
  };
}

/**
 * A time, read as milliseconds. The unit is part of the text: the unit of a bare number would be a
 * guess.
 */
export function duration(minMs = 1): ValueType<number> {
  return {
    kind: 'duration',
    placeholder: 'DURATION',
    accepts: `a duration from ${formatDuration(minMs)} to ${formatDuration(LONGEST_DURATION_MS)}, such as 250ms, 5s or 2m`,
    schema: { type: 'string', pattern: `^${minMs > 0 ? '0*[1-9]\\d*' : '\\d+'}(ms|s|m|h)$` },
    parse(text) {
      const [, digits, unit] = /^(\d{1,9})(ms|s|m|h)$/.exec(text) ?? [];
      if (unit === undefined) return undefined;
      return within(
        Number(digits) * DURATION_UNITS[unit as keyof typeof DURATION_UNITS],
        minMs,
        LONGEST_DURATION_MS,
      );
    },
    format: formatDuration,
  };
}

/**
 * The largest unit that leaves a whole number of at least two, as people write it: `60s` and not
 * `1m`, `2m` and not `120s`.
 */
function formatDuration(ms: number): string {
  if (ms % 1_000 !== 0) return `${ms}ms`;
  if (ms % DURATION_UNITS.h === 0 && ms >= 2 * DURATION_UNITS.h) return `${ms / DURATION_UNITS.h}h`;
  if (ms % DURATION_UNITS.m === 0 && ms >= 2 * DURATION_UNITS.m) return `${ms / DURATION_UNITS.m}m`;
  return `${ms / DURATION_UNITS.s}s`;
}

export function bytes(min: number, max: number): ValueType<number> {
  return {
    kind: 'bytes',
    placeholder: 'BYTES',
    accepts: `a number of bytes from ${formatBytes(min)} to ${formatBytes(max)}, such as 500000, 512KiB or 16MiB`,
    json: 'number',
    schema: {
      anyOf: [
        { type: 'integer', minimum: min, maximum: max },
        { type: 'string', pattern: '^\\d{1,15}(KiB|MiB|GiB)?$' },
      ],
    },
    parse(text) {
      const [, digits, unit] = /^(\d{1,15})(KiB|MiB|GiB)?$/.exec(text) ?? [];
      if (digits === undefined) return undefined;
      return within(
        Number(digits) * (unit === undefined ? 1 : BYTE_UNITS[unit as keyof typeof BYTE_UNITS]),
        min,
        max,
      );
    },
    format: formatBytes,
  };
}

function formatBytes(value: number): string {
  for (const [unit, size] of Object.entries(BYTE_UNITS)) {
    if (value >= size && value % size === 0) return `${value / size}${unit}`;
  }
  return String(value);
}

/**
 * `minPort` is 0 for a listener (the system chooses a free port) and 1 for an address to connect
 * to.
 */
export function address(minPort: 0 | 1): ValueType<Address> {
  return {
    kind: 'address',
    placeholder: 'HOST:PORT',
    accepts: `HOST:PORT with a port from ${minPort} to 65535, an IPv6 host in brackets, such as 127.0.0.1:50051 or [::1]:50051`,
    schema: { type: 'string', pattern: '^(\\[[^\\[\\]]+\\]|[A-Za-z0-9._-]+):\\d{1,5}$' },
    parse(text) {
      const [, bracketed, plain, digits] =
        /^(?:\[([^[\]]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text) ?? [];
      const port = digits === undefined ? undefined : within(Number(digits), minPort, 65_535);
      if (port === undefined) return undefined;
      if (bracketed !== undefined) return isIPv6(bracketed) ? { host: bracketed, port } : undefined;
      // Digits and dots alone can only mean IPv4; as a name they would fail much later, in DNS.
      if (plain === undefined || (/^[\d.]+$/.test(plain) && !isIPv4(plain))) return undefined;
      return { host: plain, port };
    },
    format: formatAddress,
  };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

const SIMULATED = 'simulated:';

/** `auto`, `cpu`, `cuda`, or `simulated:` with milliseconds by batch size: `1:1.0,8:2.2,32:6.5`. */
export function executionProvider(): ValueType<ExecutionProvider> {
  const real = choice('auto', 'cpu', 'cuda');
  return {
    kind: 'execution-provider',
    placeholder: `${real.placeholder}|${SIMULATED}SIZE:MS,…`,
    accepts:
      `auto, cpu, cuda, or simulated: with batch sizes and their milliseconds, ascending from 1 to at most ` +
      `${LARGEST_BATCH}, such as simulated:1:1.0,8:2.2,32:6.5`,
    schema: {
      anyOf: [
        real.schema,
        {
          type: 'string',
          pattern: `^${SIMULATED}1:\\d+(\\.\\d+)?(,\\d{1,4}:\\d+(\\.\\d+)?)*$`,
        },
      ],
    },
    parse(text) {
      if (text.startsWith(SIMULATED)) {
        const costs = parseCosts(text.slice(SIMULATED.length));
        return costs === undefined ? undefined : { kind: 'simulated', costs };
      }
      const kind = real.parse(text);
      return kind === undefined ? undefined : { kind };
    },
    format: (provider) =>
      provider.kind === 'simulated' ? SIMULATED + formatCosts(provider.costs) : provider.kind,
  };
}

function parseCosts(text: string): readonly BatchCost[] | undefined {
  const costs: BatchCost[] = [];
  for (const entry of text.split(',')) {
    const [, size, time] = /^(\d{1,4}):(\d{1,7}(?:\.\d{1,6})?)$/.exec(entry) ?? [];
    const [batchSize, milliseconds] = [Number(size), Number(time)];
    const ascends =
      costs.length === 0 ? batchSize === 1 : batchSize > (costs.at(-1)?.batchSize ?? 0);
    if (!(ascends && batchSize <= LARGEST_BATCH && milliseconds > 0)) return undefined;
    costs.push({ batchSize, milliseconds });
  }
  return costs;
}

function formatCosts(costs: readonly BatchCost[]): string {
  return costs.map(({ batchSize, milliseconds }) => `${batchSize}:${milliseconds}`).join(',');
}

function within(value: number, min: number, max: number): number | undefined {
  return value >= min && value <= max ? value : undefined;
}
