/** Labelled images: a folder with one folder a class, or a CSV file with a file and a label a row. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { nearestName } from '../../cli/nearest.js';
import { messageOf, SetupError } from '../../errors.js';

export interface LabelledImage {
  readonly path: string;
  readonly label: string;
}

const IMAGE_FILE = /\.(jpe?g|png|webp)$/i;
const MOST_PROBLEMS = 10;

/** Sorted by path within each label. Throws SetupError where there is none. */
export async function labelledImages(data: string): Promise<LabelledImage[]> {
  const found = await stat(data).catch((error: unknown) => {
    throw usage(`can't read ${data} (${messageOf(error)})`);
  });
  const images = found.isDirectory() ? await fromFolders(data) : await fromCsv(data);
  if (images.length > 0) return images;
  throw usage(
    found.isDirectory()
      ? `${data} has no folder of JPEG, PNG or WebP files: make one for each class, named as its label`
      : `${data} has no row with a file and a label`,
  );
}

/**
 * The index of each label that occurs. A label that the model does not have may be a class index.
 * Throws SetupError for all unknown ones at once.
 */
export function classIndexes(
  images: readonly LabelledImage[],
  labels: readonly string[],
): ReadonlyMap<string, number> {
  const indexOf = new Map(labels.map((label, index) => [label, index]));
  const found = new Map<string, number>();
  const unknown: string[] = [];
  for (const label of new Set(images.map((image) => image.label))) {
    const asIndex = /^\d+$/.test(label) ? Number(label) : labels.length;
    const index = indexOf.get(label) ?? asIndex;
    if (index < labels.length) found.set(label, index);
    else unknown.push(label);
  }
  if (unknown.length === 0) return found;
  const shown = unknown.slice(0, MOST_PROBLEMS).map((label) => {
    const nearest = nearestName(label, labels);
    const hint = nearest === undefined ? '' : `; did you mean "${nearest}"?`;
    return `${JSON.stringify(label)} is no label of the model${hint}`;
  });
  const rest = unknown.length - shown.length;
  if (rest > 0) shown.push(`… and ${rest} more labels that the model does not have`);
  shown.push('name classes by the labels that "vitserve inspect" shows, or by their index from 0');
  throw new SetupError('usage', shown);
}

async function fromFolders(data: string): Promise<LabelledImage[]> {
  const entries = await readdir(data, { withFileTypes: true });
  const images: LabelledImage[] = [];
  for (const label of entries.map(({ name }) => name).sort()) {
    const folder = join(data, label);
    if (!(await stat(folder)).isDirectory()) continue;
    const files = (await readdir(folder, { recursive: true })).filter((file) =>
      IMAGE_FILE.test(file),
    );
    images.push(...files.sort().map((file) => ({ path: join(folder, file), label })));
  }
  return images;
}

/** Paths are relative to the CSV file. The first row may be a heading. */
async function fromCsv(data: string): Promise<LabelledImage[]> {
  const images: LabelledImage[] = [];
  const problems: string[] = [];
  const rows = csvRows(await readFile(data, 'utf8'));
  for (const [at, row] of rows.entries()) {
    const [file = '', label = ''] = row.map((cell) => cell.trim());
    if (IMAGE_FILE.test(file) && label !== '')
      images.push({ path: resolve(dirname(data), file), label });
    // The first row may be a heading.
    else if (at > 0) problems.push(`${data}, row ${at + 1}: give an image file and its label`);
  }
  if (problems.length > 0) throw new SetupError('usage', problems.slice(0, MOST_PROBLEMS));
  return images;
}

/** Rows and cells of a CSV file (RFC 4180), without empty rows. */
export function csvRows(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  // A cell, quoted or not, and what ends it.
  const cells = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy;
  for (const [all, quoted, plain = '', end] of text.replace(/^\ufeff/, '').matchAll(cells)) {
    if (all === '' && row.length === 0) break;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === ',') continue;
    if (row.some((cell) => cell !== '')) rows.push(row);
    row = [];
  }
  return rows;
}

function usage(problem: string): SetupError {
  return new SetupError('usage', [problem]);
}
