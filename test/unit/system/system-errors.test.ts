/** Errors of the operating system: each names its remedy, and no other. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  describeSystemError,
  listenProblem,
  openFilesLimit,
} from '#vitserve/system/system-errors.js';

const failure = (code: string) => Object.assign(new Error(`listen ${code}: why`), { code });

describe('an address that can’t be listened on', () => {
  for (const [code, remedy] of [
    ['EADDRINUSE', /: end what uses it, or choose another port$/],
    ['EACCES', /: ports below 1024 .*: choose a higher one/],
    ['EADDRNOTAVAIL', /: no interface of this machine has this address/],
    ['EAFNOSUPPORT', /: IPv6 is not available here/],
    ['ENOTFOUND', /: there is no such host name: check its spelling/],
    ['EAI_AGAIN', /: the name could not be resolved for now/],
    ['EMFILE', /: raise the limit, for example with "ulimit -n 4096"$/],
    ['EWHATEVER', /: choose another address$/],
  ] as const) {
    test(code, () => {
      const problem = listenProblem('address', { host: 'h', port: 1 }, failure(code));
      assert.ok(
        problem.startsWith(`address: can't listen on h:1 (listen ${code}: why): `),
        problem,
      );
      assert.match(problem, remedy);
      if (code !== 'EADDRINUSE') assert.doesNotMatch(problem, /end what uses it/);
    });
  }

  test('an IPv6 address has its brackets', () => {
    assert.match(
      listenProblem('o', { host: '::1', port: 2 }, failure('EACCES')),
      /on \[::1\]:2 \(/,
    );
  });
});

test('limits that are reached name their remedy, and other errors stay unchanged', () => {
  assert.match(
    describeSystemError(failure('EMFILE')),
    /: this process may have \d+ open files: raise the limit/,
  );
  assert.match(describeSystemError(failure('ENFILE')), /fs\.file-max/);
  assert.match(describeSystemError(failure('EAGAIN')), /ulimit -u/);
  assert.equal(describeSystemError(failure('EISDIR')), 'listen EISDIR: why');
  assert.equal(describeSystemError('text'), 'text');
});

test('the limit of open files is the system’s', () => {
  const limit = openFilesLimit();
  assert.ok(limit !== null && limit > 2, String(limit));
});
