/** Bearer tokens: the format of their file, and which headers are accepted. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RequestError, SetupError } from '#vitserve/errors.js';
import { Tokens } from '#vitserve/server/transport/tokens.js';
import { tokensIn } from '#vitserve/token-file.js';

const ONE = 'one-0123456789abcdef';
const TWO = 'two.0123456789~+/=ABC';

function problemsOf(text: string): readonly string[] {
  try {
    tokensIn(text, 'tokens');
  } catch (error) {
    if (error instanceof SetupError) return error.problems;
    throw error;
  }
  return [];
}

describe('a file of tokens', () => {
  test('has one a line, with comments, blank lines and blanks around', () => {
    assert.deepEqual(tokensIn(`# ours\r\n${ONE}\r\n\n  ${TWO}\t\n  # theirs`, 'tokens'), [
      ONE,
      TWO,
    ]);
  });

  test('without a usable token is a problem, and so is each unusable line; none is repeated in the text', () => {
    assert.deepEqual(problemsOf('\n# none\n'), [
      'token-file: tokens has no token: write one per line',
    ]);
    assert.deepEqual(problemsOf(`${ONE}\nshort\ntwo words of some length\n`), [
      'token-file: line 2 of tokens has fewer than 16 characters',
      'token-file: line 3 of tokens is not a token: use letters, digits and . _ ~ + / = - only',
    ]);
  });
});

describe('a caller', () => {
  const tokens = new Tokens([ONE, TWO]);

  test('is authenticated with any of the tokens, however the scheme is written', () => {
    for (const value of [`Bearer ${ONE}`, `Bearer ${TWO}`, `bearer ${TWO}`, `BEARER  ${ONE}`])
      tokens.check([value]);
    assert.equal(tokens.count, 2);
  });

  for (const [what, ...values] of [
    ['nothing'],
    ['nothing in it', ''],
    ['no scheme', ONE],
    ['another scheme', `Basic ${ONE}`],
    ['the scheme alone', 'Bearer '],
    ['a part of a token', `Bearer ${ONE.slice(0, -1)}`],
    ['more than a token', `Bearer ${ONE}${TWO}`],
    ['two tokens', `Bearer ${ONE}, Bearer ${TWO}`],
    ['another case', `Bearer ${ONE.toUpperCase()}`],
    ['two values', `Bearer ${ONE}`, `Bearer ${ONE}`],
  ] as const) {
    test(`is rejected with ${what}, and the error does not repeat it`, () => {
      assert.throws(
        () => tokens.check(values),
        (error) => {
          assert(error instanceof RequestError);
          assert.equal(error.reason, 'TOKEN_INVALID');
          assert(!error.message.includes(ONE.slice(0, 8)));
          return true;
        },
      );
    });
  }
});
