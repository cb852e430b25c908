/**
 * All unit tests but the slow ones, in one process: most of the time of a small file is the start
 * of Node.
 */
import { readdirSync } from 'node:fs';

const files = readdirSync(new URL('.', import.meta.url), { recursive: true, encoding: 'utf8' });
for (const file of files.sort()) {
  if (/(?<!\.slow)\.test\.js$/.test(file)) await import(new URL(file, import.meta.url).href);
}
