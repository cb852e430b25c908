/** Reads a `config.json` from elsewhere: typed values, and every problem at once. */
import type { ImageSize } from '../../models/recipe-sources.js';

export class ConfigReader {
  readonly problems: string[] = [];
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(config: unknown) {
    const isObject = typeof config === 'object' && config !== null && !Array.isArray(config);
    if (!isObject) this.problems.push('not a JSON object');
    this.#values = isObject ? (config as Record<string, unknown>) : {};
  }

  /** Unchanged; undefined for absent and null. */
  any(key: string): unknown {
    return this.#values[key] ?? undefined;
  }

  /** A nested object; empty if absent. */
  object(key: string): Readonly<Record<string, unknown>> {
    const value = this.any(key) ?? {};
    return this.#accept(
      key,
      value,
      typeof value === 'object' && !Array.isArray(value),
      'an object',
      {},
    );
  }

  text(key: string, whenAbsent: string): string {
    const value = this.any(key) ?? whenAbsent;
    return this.#accept(key, value, typeof value === 'string', 'text', whenAbsent);
  }

  count(key: string, whenAbsent: number): number {
    const value = this.any(key) ?? whenAbsent;
    return this.#accept(key, value, isCount(value), 'a whole number above zero', whenAbsent);
  }

  positive(key: string, whenAbsent: number): number {
    const value = this.any(key) ?? whenAbsent;
    return this.#accept(
      key,
      value,
      typeof value === 'number' && value > 0,
      'a number above zero',
      whenAbsent,
    );
  }

  /** A whole number for a square, or height and width. */
  size(key: string, whenAbsent: number): ImageSize {
    const value = this.any(key) ?? whenAbsent;
    if (isCount(value)) return { height: value, width: value };
    const [height, width, more]: readonly unknown[] = Array.isArray(value) ? value : [];
    if (isCount(height) && isCount(width) && more === undefined) return { height, width };
    this.problems.push(`${key} is ${JSON.stringify(value)}, not a whole number or [height, width]`);
    return { height: whenAbsent, width: whenAbsent };
  }

  #accept<Value>(
    key: string,
    value: unknown,
    fits: boolean,
    wanted: string,
    fallback: Value,
  ): Value {
    if (fits) return value as Value;
    this.problems.push(`${key} is ${JSON.stringify(value)}, not ${wanted}`);
    return fallback;
  }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}
