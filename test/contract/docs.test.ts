/**
 * Documents lead somewhere: links resolve, headings that are linked exist, nothing depends on one
 * person's machine.
 */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { documents, proseOf, REPOSITORY, read } from './repository.js';

/** Paths from the root, from src/ or from test/; compiled ones stand for their sources. */
const FILE_NAME =
  /(?<![\w./-])(?:(?:src|test|dist-test|bench|tools|server|workers|cli|client|onnx|models|system|unit|integration|faults|e2e|interop|contract)\/)[\w/-]+(?:\.[\w-]+)*\.(?:ts|mjs|py|js)\b/g;

interface Link {
  readonly target: string;
  readonly anchor: string;
}

/**
 * Links to other sites are not followed: a test that needs the network says nothing about this
 * repository.
 */
function relativeLinks(path: string): Link[] {
  const targets = [...proseOf(path).matchAll(/\]\(([^()\s]*(?:\([^()\s]*\))?)\)/g)].map(
    ([, target]) => target as string,
  );
  return targets
    .filter((target) => !/^[a-z]+:/i.test(target))
    .map((target) => {
      const [file = '', anchor = ''] = target.split('#');
      return { target: file === '' ? path : join(dirname(path), file), anchor };
    });
}

/** The anchors that GitHub gives to the headings of a document, and those that it sets itself. */
function anchorsOf(path: string): Set<string> {
  const own = [...read(path).matchAll(/<a id="([^"]+)">/g)].map(([, anchor]) => anchor as string);
  const headings = [...read(path).matchAll(/^#{1,6} (.*)$/gm)].map(
    ([, heading]) => heading as string,
  );
  return new Set([
    ...own,
    ...headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/\s/g, '-'),
    ),
  ]);
}

describe('documents', () => {
  for (const path of documents()) {
    test(`${path}: every relative link leads to something`, () => {
      for (const { target, anchor } of relativeLinks(path)) {
        assert.ok(!target.startsWith('..'), `${target} lies outside the repository`);
        assert.ok(existsSync(join(REPOSITORY, target)), `${target} does not exist`);
        if (anchor !== '')
          assert.ok(anchorsOf(target).has(anchor), `${target} has no heading for #${anchor}`);
      }
    });

    test(`${path}: every file of the code that it names is there`, () => {
      for (const [name] of read(path).matchAll(FILE_NAME)) {
        const source = name.replace(/^dist-/, '').replace(/\.js$/, '.ts');
        const candidates = ['', 'src', 'test'].map((folder) => join(REPOSITORY, folder, source));
        assert.ok(candidates.some(existsSync), `${name} does not exist`);
      }
    });

    test(`${path}: no path of anybody's machine`, () => {
      assert.doesNotMatch(
        read(path),
        /(?<![\w.$}])(?:\/(?:home|root|work|Users|mnt|opt)\/|[A-Z]:\\)/,
      );
    });
  }

  test('all are reached from the README', () => {
    const reached = new Set(['README.md']);
    for (const path of reached) {
      for (const { target } of relativeLinks(path)) {
        const isFolder =
          existsSync(join(REPOSITORY, target)) && statSync(join(REPOSITORY, target)).isDirectory();
        const document = relative('.', isFolder ? join(target, 'README.md') : target);
        if (document.endsWith('.md') && existsSync(join(REPOSITORY, document)))
          reached.add(document);
      }
    }
    assert.deepEqual(
      documents().filter((path) => !reached.has(path)),
      [],
    );
  });
});
