/** Reads the golden files of this folder; make_golden.py makes them. */

import { readFileSync } from 'node:fs';

/** The tests run from dist-test/, the JSON stays in test/. */
export const REPOSITORY = new URL('../../', import.meta.url);

export function readGolden<Case>(name: string): readonly Case[] {
  const document = JSON.parse(readFileSync(new URL(`test/golden/${name}`, REPOSITORY), 'utf8')) as {
    cases: readonly Case[];
  };
  return document.cases;
}

export function fromBase64(text: string): Buffer {
  return Buffer.from(text, 'base64');
}
