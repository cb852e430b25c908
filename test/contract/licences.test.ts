/**
 * What of other people's is installed for production may be: every licence is one that is known to
 * be fine.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { REPOSITORY, read, readJson } from './repository.js';

interface LockedPackage {
  readonly license?: string;
  readonly dev?: boolean;
}

/** They ask for notices at most; LGPL for what `docs/internals/licences.md` says of it besides. */
const FINE = [
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'Unlicense',
  'Zlib',
];
/** Only in these packages, whose libraries are loaded as they are and can be exchanged. */
const LGPL = 'LGPL-3.0-or-later';
const WITH_LGPL = /^@img\/sharp-(libvips-|wasm32$|win32-)/;

const lock = readJson<{ readonly packages: Readonly<Record<string, LockedPackage>> }>(
  'package-lock.json',
).packages;
const runtime = Object.entries(lock)
  .filter(([path, { dev }]) => path !== '' && dev !== true)
  .map(([path, { license }]) => ({
    name: path.replace(/^.*node_modules\//, ''),
    license: license ?? '',
  }));

/** Whether an SPDX expression of AND and OR can be met; no licence at all can't. */
function isFine(expression: string, allowed: readonly string[]): boolean {
  const plain = expression.replaceAll(/[()]/g, '');
  return plain
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((licence) => allowed.includes(licence)));
}

describe('licences of what is installed for production', () => {
  test('are all known to be fine', () => {
    assert(runtime.length > 50);
    const others = runtime.filter(
      ({ name, license }) => !isFine(license, WITH_LGPL.test(name) ? [...FINE, LGPL] : FINE),
    );
    assert.deepEqual(others, []);
  });

  test('the judgement knows good from bad', () => {
    for (const [expression, verdict] of [
      ['MIT', true],
      ['(MIT OR GPL-3.0-only)', true],
      ['Apache-2.0 AND LGPL-3.0-or-later', false],
      ['SEE LICENSE IN LICENSE.txt', false],
      ['', false],
    ] as const) {
      assert.equal(isFine(expression, FINE), verdict, expression);
    }
  });

  test('the document names every library that sharp brings compiled, and what the lockfile says', () => {
    const document = read('docs/internals/licences.md');
    for (const { name } of runtime.filter(({ name }) => !/^@(img\/sharp|koromix)/.test(name))) {
      // Stand-ins without content, which the lockfile has under other names.
      if (/^(cmake-js|node-addon-api|pkg-prebuilds)$/.test(name)) continue;
      assert(document.includes(`| \`${name}\` |`), name);
    }
  });

  test('the notices that the document points to are there', () => {
    const installed = readdirSync(join(REPOSITORY, 'node_modules/@img'));
    const libvips = installed.find((name) => name.startsWith('sharp-libvips-'));
    assert(libvips, 'libvips is installed');
    assert.match(read(`node_modules/@img/${libvips}/README.md`), /libvips\s+\| LGPLv3/);
    assert.match(read('node_modules/koffi/LICENSE.txt'), /MIT/);
    assert.match(read('node_modules/@julusian/jpeg-turbo/LICENSE'), /\S/);
  });
});
