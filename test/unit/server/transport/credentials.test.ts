/**
 * Certificates and tokens while the server runs: read again by the clock, used, or kept and
 * reported.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Credentials, LOOK_INTERVAL_MS } from '#vitserve/server/transport/credentials.js';
import { Authority } from '../../../support/certificates.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { eventually, temporaryFolder } from '../../../support/scope.js';

const NOTHING = { tlsCert: null, tlsKey: null, tlsClientCa: null, tokenFile: null };
const OLD = 'the-old-token-0123456789';
const NEW = 'the-new-token-0123456789';
const silent = () => {};

test('without files there is no TLS and no call needs a token', async () => {
  const clock = new FakeClock();
  const credentials = await Credentials.open(NOTHING, clock, silent);
  assert.equal(credentials.tls, null);
  credentials.authenticate([]);
  credentials.watch(() => assert.fail('there is no certificate'));
  await credentials.look();
  assert.equal(clock.timers, 0);
});

test('new content is used at the next look, and unusable content is reported on every look', async (t) => {
  const folder = temporaryFolder(t);
  const path = (name: string) => join(folder, name);
  const authority = new Authority('authority');
  const writePair = () => {
    const { cert, key } = authority.issue({ name: 'server' });
    writeFileSync(path('tls.crt'), cert);
    writeFileSync(path('tls.key'), key);
    return cert;
  };
  const first = writePair();
  writeFileSync(path('tokens'), OLD);
  const settings = {
    ...NOTHING,
    tlsCert: path('tls.crt'),
    tlsKey: path('tls.key'),
    tokenFile: path('tokens'),
  };
  const clock = new FakeClock();
  const seen: string[] = [];
  const credentials = await Credentials.open(settings, clock, (event) => {
    if (event.kind === 'credentials-loaded') seen.push(`${event.of} loaded`);
    if (event.kind === 'credentials-kept') seen.push(`${event.of} kept: ${event.problems.length}`);
  });
  const used: string[] = [];
  credentials.watch(({ cert }) => used.push(String(cert)));
  assert.deepEqual(seen.splice(0), ['certificate loaded', 'tokens loaded']);
  assert.equal(String(credentials.tls?.cert), first);
  /** One round of looks, to its end. */
  const next = async () => {
    clock.advance(LOOK_INTERVAL_MS);
    await eventually('both have been looked at', () => clock.timers === 2);
    return seen.splice(0).sort();
  };
  assert.deepEqual(await next(), []);

  const second = writePair();
  writeFileSync(path('tokens'), `${OLD}\n${NEW}\n`);
  assert.deepEqual(await next(), ['certificate loaded', 'tokens loaded']);
  assert.deepEqual(used, [second]);
  credentials.authenticate([`Bearer ${OLD}`]);
  credentials.authenticate([`Bearer ${NEW}`]);

  writeFileSync(path('tls.key'), 'nothing');
  writeFileSync(path('tokens'), '');
  for (let look = 0; look < 2; look++)
    assert.deepEqual(await next(), ['certificate kept: 1', 'tokens kept: 1']);
  assert.deepEqual(used, [second]);
  credentials.authenticate([`Bearer ${NEW}`]);

  writeFileSync(path('tokens'), NEW);
  assert.deepEqual(await next(), ['certificate kept: 1', 'tokens loaded']);
  assert.throws(() => credentials.authenticate([`Bearer ${OLD}`]), { reason: 'TOKEN_INVALID' });
  credentials.stop();
  clock.advance(LOOK_INTERVAL_MS);
  assert.equal(clock.timers, 0);
});

test('all problems at start are reported at once', async (t) => {
  const folder = temporaryFolder(t);
  const settings = {
    ...NOTHING,
    tlsCert: join(folder, 'a'),
    tlsKey: join(folder, 'b'),
    tokenFile: join(folder, 'c'),
  };
  await assert.rejects(Credentials.open(settings, new FakeClock(), silent), ({ problems }) => {
    assert.deepEqual(
      problems.map((problem: string) => problem.split(':')[0]),
      ['tls-cert', 'tls-key', 'token-file'],
    );
    return true;
  });
});
