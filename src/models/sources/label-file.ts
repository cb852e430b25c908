/**
 * The classes' names from a file of the user's: text with one a line, a JSON list, or a JSON object
 * by class index, whose values may be lists that end with the name (Keras'
 * `imagenet_class_index.json`: `{"0": ["n01440764", "tench"]}`).
 */
import { asObject } from './source-config.js';

/** The labels in the order of the classes, or what is wrong with the file. */
export function parseLabels(text: string): { labels: string[] } | { problem: string } {
  const content = text.replace(/^\uFEFF/, '');
  if (!/^\s*[[{]/.test(content)) return checked(content.replace(/\s+$/, '').split(/\r?\n/));
  let json: unknown;
  try {
    json = JSON.parse(content);
  } catch {
    return { problem: 'it looks like JSON but is not valid' };
  }
  if (Array.isArray(json)) return checked(json);
  const byIndex = asObject(json) ?? {};
  return checked(Object.keys(byIndex).map((_, index) => lastOf(byIndex[String(index)])));
}

function lastOf(value: unknown): unknown {
  return Array.isArray(value) ? (value as unknown[]).at(-1) : value;
}

function checked(values: readonly unknown[]): { labels: string[] } | { problem: string } {
  const labels = values.map((value) => (typeof value === 'string' ? value.trim() : ''));
  const empty = labels.indexOf('');
  if (labels.length === 0 || (labels.length === 1 && empty === 0))
    return { problem: 'it has no labels' };
  return empty < 0 ? { labels } : { problem: `class ${empty} has no name` };
}

/** `class 0`, `class 1`…: for `--labels none`. */
export function plainLabels(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `class ${index}`);
}
