/** The repository as the contract tests read it: files, Markdown tables and Markdown blocks. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The compiled tests lie two folders below the root, in dist-test/contract. */
export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

/** `path` from the root of the repository. */
export function read(path: string): string {
  return readFileSync(join(REPOSITORY, path), 'utf8');
}

export function readJson<Content>(path: string): Content {
  return JSON.parse(read(path)) as Content;
}

/** Paths from the root of every file below a folder that ends with `suffix`, sorted. */
export function filesBelow(folder: string, suffix: string): string[] {
  return readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(suffix))
    .map((path) => `${folder}/${path.replaceAll('\\', '/')}`)
    .sort();
}

/** README, CHANGELOG, CONTRIBUTING, SECURITY and everything in docs/. */
export function documents(): string[] {
  return [
    'README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    ...filesBelow('docs', '.md'),
  ];
}

export type TableRow = Readonly<Record<string, string>>;

/**
 * The rows of the first table whose header begins with `firstColumn`, by column name. Backquotes
 * are taken away.
 */
export function tableOf(path: string, firstColumn: string): TableRow[] {
  const lines = read(path).split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${firstColumn} |`));
  assert.ok(start >= 0, `${path} has a table that begins with the column "${firstColumn}"`);
  const columns = cellsOf(lines[start] as string);
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'));
  return lines.slice(start + 2, end < 0 ? undefined : end).map((line) => {
    const cells = cellsOf(line);
    assert.equal(cells.length, columns.length, `${path}: ${line}`);
    return Object.fromEntries(columns.map((column, index) => [column, cells[index] as string]));
  });
}

function cellsOf(line: string): string[] {
  return line
    .slice(1, -1)
    .split('|')
    .map((cell) => cell.trim().replaceAll('`', ''));
}

export interface Block {
  readonly language: string;
  /** What follows the language: the word by which a test knows the block. */
  readonly name: string;
  readonly text: string;
}

/** The fenced code blocks of a document, in their order. */
export function blocksOf(path: string): Block[] {
  return [...read(path).matchAll(/^```(\w*) ?([\w-]*)\n([\s\S]*?)^```$/gm)].map(
    ([, language, name, text]) => ({
      language: language as string,
      name: name as string,
      text: text as string,
    }),
  );
}

/** A document without its code blocks and code spans. */
export function proseOf(path: string): string {
  return read(path)
    .replace(/^```[\s\S]*?^```$/gm, '')
    .replace(/`[^`\n]*`/g, '');
}
