/** Lists in pages. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RequestError } from '#vitserve/errors.js';
import { pageOf } from '#vitserve/server/rpc/models.js';

const list = (names: readonly string[]) => [...names].sort().map((name) => ({ name }));
const names = fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1 }), { maxLength: 30 });

/** All pages. Fails where they do not end. */
function pagesOf(
  entries: readonly { readonly name: string }[],
  pageSize: number,
): (readonly { name: string }[])[] {
  const pages = [];
  let token = '';
  do {
    const { page, nextPageToken } = pageOf(entries, pageSize, token);
    pages.push(page);
    token = nextPageToken;
    assert.ok(pages.length <= entries.length + 1, 'the pages come to an end');
  } while (token !== '');
  return pages;
}

describe('pages', () => {
  test('make up the list, whatever their size, and only the last may be short', () => {
    fc.assert(
      fc.property(names, fc.integer({ min: 1, max: 40 }), (some, pageSize) => {
        const entries = list(some);
        const pages = pagesOf(entries, pageSize);
        assert.deepEqual(pages.flat(), entries);
        assert.equal(pages.length, Math.max(1, Math.ceil(entries.length / pageSize)));
        for (const page of pages.slice(0, -1)) assert.equal(page.length, pageSize);
      }),
    );
  });

  test('hold a hundred by default, and at most', () => {
    const entries = list(Array.from({ length: 250 }, (_, at) => `model ${at}`));
    for (const pageSize of [0, 101, 2 ** 31 - 1]) {
      assert.deepEqual(
        pagesOf(entries, pageSize).map(({ length }) => length),
        [100, 100, 50],
      );
    }
  });

  test('go on after the last name, even where entries have come and gone meanwhile', () => {
    const { page, nextPageToken } = pageOf(list(['b', 'd', 'f']), 2, '');
    assert.deepEqual(page, list(['b', 'd']));
    assert.deepEqual(pageOf(list(['a', 'b', 'c', 'e', 'f']), 0, nextPageToken), {
      page: list(['e', 'f']),
      nextPageToken: '',
    });
    assert.deepEqual(pageOf(list(['a']), 0, nextPageToken), { page: [], nextPageToken: '' });
  });

  test('of no entries are one, which is empty', () => {
    assert.deepEqual(pageOf([], 0, ''), { page: [], nextPageToken: '' });
  });
});

describe('an invalid page', () => {
  const refused = (field: string | undefined) => (error: unknown) =>
    error instanceof RequestError && error.reason === 'PAGE_INVALID' && error.field === field;

  test('a negative size is rejected, and the size is at fault', () => {
    assert.throws(() => pageOf(list(['a']), -1, ''), refused('page_size'));
  });

  for (const token of ['*', 'YQ==', 'Y', 'YR', 'gICA', ' ', '\0']) {
    test(`the token ${JSON.stringify(token)} is rejected`, () => {
      assert.throws(() => pageOf(list(['a', 'b']), 0, token), refused(undefined));
    });
  }

  test('any other text is a token or rejected', () => {
    fc.assert(
      fc.property(fc.string(), (token) => {
        try {
          assert.ok(pageOf(list(['a', 'b']), 0, token).page.length <= 2);
        } catch (error) {
          assert.ok(refused(undefined)(error), String(error));
        }
      }),
    );
  });
});
