/** The images for the load: files, folders of them, or a drawn one. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';

export interface BenchImages {
  readonly images: readonly Buffer[];
  /** A description for the heading of a report. */
  readonly description: string;
}

/** At most so many are held in memory; more would show nothing new. */
const MOST_IMAGES = 1000;
/** Average width and height of ImageNet's pictures, with which ViTs are mostly measured. */
const DRAWN_SIZE = [500, 375] as const;

/** Draws a JPEG file of that size. */
export type DrawJpeg = (width: number, height: number) => Promise<Buffer>;

/** Throws SetupError for all paths that can't be read at once. */
export async function readImages(
  paths: readonly string[],
  drawJpeg: DrawJpeg,
): Promise<BenchImages> {
  if (paths.length === 0) {
    const [width, height] = DRAWN_SIZE;
    const image = await drawJpeg(width, height);
    return {
      images: [image],
      description: `a drawn JPEG of ${width} × ${height}, ${kilobytes([image])}`,
    };
  }
  const problems: string[] = [];
  const files: string[] = [];
  for (const path of paths) {
    try {
      files.push(...(await filesOf(path)));
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  const images: Buffer[] = [];
  for (const file of files.slice(0, MOST_IMAGES)) {
    try {
      images.push(await readFile(file));
    } catch (error) {
      problems.push(`can't read ${file} (${messageOf(error)})`);
    }
  }
  if (problems.length > 0) throw new SetupError('usage', problems);
  const count =
    files.length > images.length
      ? `the first ${images.length} of ${files.length} files`
      : plural(images.length);
  return { images, description: `${count}, ${kilobytes(images)}` };
}

async function filesOf(path: string): Promise<string[]> {
  const found = await stat(path).catch((error: unknown) => {
    throw new Error(`can't read ${path} (${messageOf(error)})`);
  });
  if (!found.isDirectory()) return [path];
  const entries = await readdir(path, { recursive: true });
  const files = entries.filter((name) => /\.(jpe?g|png|webp)$/i.test(name)).sort();
  if (files.length === 0) throw new Error(`${path} has no JPEG, PNG or WebP file`);
  return files.map((file) => join(path, file));
}

function plural(count: number): string {
  return count === 1 ? 'one file' : `${count} files`;
}

function kilobytes(images: readonly Buffer[]): string {
  const mean = images.reduce((sum, { length }) => sum + length, 0) / images.length / 1000;
  return `${mean.toFixed(mean < 10 ? 1 : 0)} kB${images.length === 1 ? '' : ' on average'}`;
}
