/** Certificates and keys: which are used, and which are rejected, with the exact texts. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { parseTlsFiles, watchedTlsFiles } from '#vitserve/server/transport/tls-files.js';
import { Authority } from '../../../support/certificates.js';

const HOUR_MS = 3_600_000;
const FILES = { cert: 'a.crt', key: 'a.key', clientCa: null };
const WITH_AUTHORITY = { ...FILES, clientCa: 'ca.crt' };

const authority = new Authority('authority');
const server = authority.issue({ name: 'server', hosts: ['127.0.0.1'] });

function parse(...contents: string[]) {
  const buffers = contents.map((content) => Buffer.from(content));
  return parseTlsFiles(contents.length === 2 ? FILES : WITH_AUTHORITY, buffers);
}

function problemsOf(...contents: string[]): readonly string[] {
  try {
    parse(...contents);
  } catch (error) {
    if (error instanceof SetupError) return error.problems;
    throw error;
  }
  return assert.fail('it was put to use');
}

describe('a certificate and its key', () => {
  test('become what TLS takes: 1.2 at least, and no authorities unless some are named', () => {
    const { context, expiresAt, fingerprint256 } = parse(server.cert, server.key);
    assert.deepEqual(
      [context.minVersion, 'ca' in context, expiresAt.clientCa],
      ['TLSv1.2', false, null],
    );
    assert.match(fingerprint256, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    const named = parse(
      server.cert,
      server.key,
      `${authority.cert}\n${new Authority('other').cert}`,
    );
    assert.equal((named.context.ca as string[]).length, 2);
    assert.equal(watchedTlsFiles(FILES).length, 2);
    assert.deepEqual(
      watchedTlsFiles(WITH_AUTHORITY).map(({ path }) => path),
      ['a.crt', 'a.key', 'ca.crt'],
    );
  });

  test('end when the first of their certificates does', () => {
    const leaf = authority.issue({ name: 'server', endsInMs: 2 * HOUR_MS });
    const intermediate = authority.issue({ name: 'intermediate', endsInMs: HOUR_MS });
    const { expiresAt } = parse(leaf.cert + intermediate.cert, leaf.key);
    assert(Math.abs(expiresAt.server - (Date.now() + HOUR_MS)) < 60_000);
  });

  test('are rejected where they are unusable, with all problems', () => {
    const other = authority.issue({ name: 'other' });
    assert.deepEqual(problemsOf(server.cert, other.key), [
      'tls-key: a.key is not the key of the certificate in a.crt',
    ]);
    const [noCertificate, noKey, noAuthority, ...more] = problemsOf(
      'nothing',
      'nothing',
      'nothing',
    );
    assert.equal(
      noCertificate,
      "tls-cert: a.crt holds no certificate in PEM form: give the server's, then its intermediates",
    );
    assert.match(
      String(noKey),
      /^tls-key: a\.key is no private key in PEM form without a passphrase \(/,
    );
    assert.equal(
      noAuthority,
      "tls-client-ca: ca.crt holds no certificate in PEM form: give those of the authorities that sign callers' certificates",
    );
    assert.deepEqual(more, []);
    const damaged = server.cert.replace('MII', 'AAA');
    assert.match(
      String(problemsOf(damaged, server.key)),
      /^tls-cert: a\.crt holds a certificate that is damaged \(/,
    );
    assert.match(
      String(problemsOf(server.cert, server.key, damaged)),
      /^tls-client-ca: ca\.crt .* damaged \(/,
    );
  });

  test('are rejected before and after their time', () => {
    const ended = authority.issue({ name: 'server', endsInMs: -HOUR_MS });
    assert.match(
      String(problemsOf(ended.cert, ended.key)),
      /^tls-cert: a\.crt has expired \(.*\): renew it$/,
    );
    const early = authority.issue({ name: 'server', beginsInMs: HOUR_MS });
    assert.match(
      String(problemsOf(early.cert, early.key)),
      /^tls-cert: a\.crt is not valid before /,
    );
  });

  test('with a passphrase are rejected, and the text contains no key', () => {
    const locked = String(
      createPrivateKey(server.key).export({
        type: 'pkcs8',
        format: 'pem',
        cipher: 'aes-256-cbc',
        passphrase: 'secret',
      }),
    );
    const [problem, ...more] = problemsOf(server.cert, locked);
    assert.match(
      String(problem),
      /^tls-key: a\.key is no private key in PEM form without a passphrase \(/,
    );
    assert.deepEqual(more, []);
  });
});
