/** Tables of a Markdown document as data, so that tests can compare them with the program. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './scope.js';

/**
 * The rows of the table under a heading: the first cell as written, the others as plain text,
 * `<br>` as a new line.
 */
export function readTable(document: string, heading: string): string[][] {
  const lines = readFileSync(join(REPOSITORY, document), 'utf8').split('\n');
  const begin = lines.findIndex(
    (line) => line.startsWith('#') && line.replace(/^#+ /, '') === heading,
  );
  if (begin < 0) throw new Error(`${document} has no heading "${heading}"`);
  const rest = lines.slice(begin + 1);
  const end = rest.findIndex((line) => line.startsWith('#'));
  const rows = (end < 0 ? rest : rest.slice(0, end)).filter((line) => line.startsWith('|'));
  // The first two are the column names and the rule under them.
  return rows.slice(2).map((row) => {
    const [first = '', ...cells] = row.slice(1, -1).split(/(?<!\\)\|/);
    return [first.trim(), ...cells.map(plainText)];
  });
}

/** An empty cell has a dash; code loses its backticks. */
function plainText(cell: string): string {
  if (cell.trim() === '–') return '';
  const lines = cell.trim().split('<br>');
  return lines.map((line) => line.replace(/^`(.*)`$/, '$1').replaceAll('\\|', '|')).join('\n');
}

/**
 * Cells as a row of such a table, with code in all but the first: what a new row should look like.
 */
export function writeRow([first, ...cells]: readonly string[]): string {
  const code = (text: string) =>
    text === ''
      ? '–'
      : text
          .split('\n')
          .map((line) => `\`${line}\``)
          .join('<br>');
  return `| ${[first, ...cells.map((cell) => code(cell.replaceAll('|', '\\|')))].join(' | ')} |`;
}
