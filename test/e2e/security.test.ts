/**
 * Access control: TLS, client certificates, tokens, and what stays open; certificates and tokens
 * that change under load.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type ConnectionOptions, connect } from 'node:tls';
import { credentials } from '@grpc/grpc-js';
import { Authority, type Issued } from '../support/certificates.js';
import { failureOf, PlainClient, SERVICE } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import {
  eventually,
  type Scope,
  ServerProcess,
  SIMULATED,
  temporaryFolder,
  vitserve,
} from '../support/server.js';

const HOUR_MS = 3_600_000;
const TOKENS = [
  'first-token-0123456789',
  'second-token-987654321',
  'third-token-55555555555',
] as const;
const GREEN = [10, 200, 30] as const;

const authority = new Authority('authority of servers');
const callers = new Authority('authority of callers');
const SERVER_HOSTS = ['127.0.0.1', 'localhost'];

/** A folder as Kubernetes mounts a Secret: links into a folder that is swapped as a whole. */
class SecretFolder {
  readonly folder: string;
  #generation = 0;

  constructor(scope: Scope, files: Readonly<Record<string, string>>) {
    this.folder = temporaryFolder(scope);
    this.swap(files);
    for (const name of Object.keys(files))
      symlinkSync(join('..data', name), join(this.folder, name));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  swap(files: Readonly<Record<string, string>>): void {
    const generation = `..generation-${this.#generation++}`;
    mkdirSync(join(this.folder, generation));
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(this.folder, generation, name), content);
    symlinkSync(generation, join(this.folder, '..new'));
    renameSync(join(this.folder, '..new'), join(this.folder, '..data'));
    if (this.#generation > 1)
      rmSync(join(this.folder, `..generation-${this.#generation - 2}`), { recursive: true });
  }
}

function channelOf(identity: Issued | null, ca = authority.cert) {
  return credentials.createSsl(
    Buffer.from(ca),
    identity === null ? null : Buffer.from(identity.key),
    identity === null ? null : Buffer.from(identity.cert),
  );
}

/**
 * A handshake by itself, as far as it gets: the TLS version and the name on the server's
 * certificate.
 */
async function handshake(scope: Scope, port: number, options: ConnectionOptions = {}) {
  const socket = connect({
    port,
    host: '127.0.0.1',
    ca: authority.cert,
    ALPNProtocols: ['h2'],
    ...options,
  });
  scope.after(() => socket.destroy());
  await once(socket, 'secureConnect');
  const seen = { version: socket.getProtocol(), name: socket.getPeerCertificate().subject.CN };
  socket.destroy();
  return seen;
}

const newServerCertificate = (name = 'server') => authority.issue({ name, hosts: SERVER_HOSTS });

describe('a server with TLS and client certificates', () => {
  const files = ({ cert, key }: Issued, ca = callers.cert) => ({
    'tls.crt': cert,
    'tls.key': key,
    'ca.crt': ca,
  });
  const start = async (t: Scope, secret: SecretFolder, ...more: string[]) =>
    await ServerProcess.start(t, [
      ...SIMULATED,
      '--permits',
      '64',
      '--tls-cert',
      secret.path('tls.crt'),
      '--tls-key',
      secret.path('tls.key'),
      '--tls-client-ca',
      secret.path('ca.crt'),
      '--health-address',
      '127.0.0.1:0',
      ...more,
    ]);

  test('answers callers with a certificate of its authority, and rejects all others', async (t) => {
    const server = await start(t, new SecretFolder(t, files(newServerCertificate())));
    const image = await plainPng(GREEN);
    const good = callers.issue({ name: 'caller' });
    const client = new PlainClient(t, server.address, {}, { channel: channelOf(good) });
    assert.deepEqual((await client.embed({ image })).embedding, GREEN);
    assert.equal(await client.check(SERVICE), 'SERVING');

    const strangers: readonly (readonly [string, Issued | null])[] = [
      ['none', null],
      [
        'one of a foreign authority',
        new Authority('authority of callers').issue({ name: 'caller' }),
      ],
      [
        'one that has expired',
        callers.issue({ name: 'caller', beginsInMs: -2 * HOUR_MS, endsInMs: -HOUR_MS }),
      ],
      ['one that is not valid yet', callers.issue({ name: 'caller', beginsInMs: HOUR_MS })],
      ["the server's own", newServerCertificate()],
    ];
    for (const [what, identity] of strangers) {
      const stranger = new PlainClient(t, server.address, {}, { channel: channelOf(identity) });
      assert.equal((await failureOf(stranger.embed({ image }))).code, 'UNAVAILABLE', what);
      assert.equal((await failureOf(stranger.check())).code, 'UNAVAILABLE', what);
    }
    const refused = await server.metric('vitserve_connections_refused_total', {
      cause: 'client_certificate',
    });
    assert(refused >= strangers.length, `${refused} were refused`);
    const plain = new PlainClient(t, server.address);
    assert.equal((await failureOf(plain.embed({ image }))).code, 'UNAVAILABLE');
    assert.deepEqual((await client.embed({ image })).embedding, GREEN);
  });

  test('speaks TLS 1.2 and 1.3, and nothing older', async (t) => {
    const server = await start(t, new SecretFolder(t, files(newServerCertificate())));
    const identity = callers.issue({ name: 'caller' });
    const versions = (version: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3') =>
      handshake(t, server.port, {
        ...identity,
        minVersion: version,
        maxVersion: version,
        // Without it OpenSSL does not even offer old versions.
        ciphers: 'DEFAULT@SECLEVEL=0',
      });
    assert.equal((await versions('TLSv1.2')).version, 'TLSv1.2');
    assert.equal((await versions('TLSv1.3')).version, 'TLSv1.3');
    await assert.rejects(versions('TLSv1.1'), { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' });
  });

  test('answers plaintext health on a port of its own, and nothing else there', async (t) => {
    const server = await start(t, new SecretFolder(t, files(newServerCertificate())));
    const kubelet = new PlainClient(t, String((await server.logged('serving')).health));
    assert.equal(await kubelet.check(), 'SERVING');
    assert.equal(await kubelet.check(`${SERVICE}/vit-cifar10`), 'SERVING');
    const watch = kubelet.watch(SERVICE);
    await watch.count(1);
    assert.equal((await failureOf(kubelet.getModel())).code, 'UNIMPLEMENTED');
    assert.equal(
      (await failureOf(kubelet.embed({ image: await plainPng(GREEN) }))).code,
      'UNIMPLEMENTED',
    );
    assert.equal((await failureOf(kubelet.reflectedServices())).code, 'UNIMPLEMENTED');
    server.signal('SIGTERM');
    await watch.ended;
    assert.deepEqual(watch.statuses, ['SERVING', 'NOT_SERVING']);
    assert.deepEqual(await server.exited, { code: 0, signal: null });
  });

  test('reloads certificates under load, and keeps the old ones if new ones are bad', async (t) => {
    const secret = new SecretFolder(t, files(newServerCertificate('generation 0')));
    const server = await start(t, secret);
    const image = await plainPng(GREEN);
    const identity = callers.issue({ name: 'caller' });
    const shown = async () => (await handshake(t, server.port, { ...identity })).name;
    const kept = { kind: 'certificate', result: 'kept' };

    let loading = true;
    let answered = 0;
    const load = async (isNewConnection: boolean) => {
      let client = new PlainClient(t, server.address, {}, { channel: channelOf(identity) });
      while (loading) {
        assert.deepEqual((await client.embed({ image })).embedding, GREEN);
        answered++;
        if (!isNewConnection) continue;
        client.close();
        client = new PlainClient(t, server.address, {}, { channel: channelOf(identity) });
      }
    };
    const loads = Promise.all([load(false), load(true), load(true)]);
    const reload = async (content: Readonly<Record<string, string>>) => {
      const before = answered;
      secret.swap(content);
      server.signal('SIGHUP');
      await eventually('calls go on', () => answered > before + 20);
    };
    for (const generation of [1, 2, 3]) {
      const name = `generation ${generation}`;
      await reload(files(newServerCertificate(name)));
      await eventually(`the certificate of ${name} is shown`, async () => (await shown()) === name);
    }
    const mine = newServerCertificate('generation 4');
    const broken: readonly (readonly [RegExp, Record<string, string>])[] = [
      [
        /is not the key of the certificate/,
        files({ cert: mine.cert, key: newServerCertificate().key }),
      ],
      [/holds no certificate in PEM form/, files({ ...mine, cert: 'nothing' })],
      [/is no private key/, files({ ...mine, key: 'nothing' })],
      [/tls-client-ca: .* holds no certificate/, files(mine, '')],
      [
        /has expired/,
        files(authority.issue({ name: 'old', hosts: SERVER_HOSTS, endsInMs: -HOUR_MS })),
      ],
      [/can't be read/, { 'tls.crt': mine.cert }],
    ];
    for (const [problem, content] of broken) {
      const before = await server.metric('vitserve_credential_reloads_total', kept);
      await reload(content);
      const { level, problems } = await server.logged(
        'credentials not loaded: those before stay in use',
        (line) => problem.test(String(line.problems)),
      );
      assert.equal(level, 'warn', String(problems));
      assert((await server.metric('vitserve_credential_reloads_total', kept)) > before);
      assert.equal(await shown(), 'generation 3');
    }
    const end = { certificate: 'server' };
    const expiry = await server.metric('vitserve_tls_certificate_expiry_timestamp_seconds', end);
    assert(Math.abs(expiry - (Date.now() + 24 * HOUR_MS) / 1000) < 600, `${expiry}`);
    // Another authority for clients: open connections stay, and new ones need its certificates.
    const others = new Authority('other callers');
    await reload(files(mine, callers.cert + others.cert));
    await eventually('both authorities are known', async () => (await shown()) === 'generation 4');
    const other = new PlainClient(
      t,
      server.address,
      {},
      { channel: channelOf(others.issue({ name: 'other' })) },
    );
    assert.deepEqual((await other.embed({ image })).embedding, GREEN);
    loading = false;
    await loads;
    t.diagnostic(`${answered} calls, none failed`);
    assert(!server.output.includes('PRIVATE KEY'));
  });

  test('is called by vitserve bench and classify, which says what is missing', async (t) => {
    const server = await start(
      t,
      new SecretFolder(t, files(newServerCertificate())),
      '--token-file',
      tokenFile(t),
    );
    const folder = temporaryFolder(t);
    const write = (name: string, content: string) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    const image = join(folder, 'image.png');
    writeFileSync(image, await plainPng(GREEN));
    const identity = callers.issue({ name: 'caller' });
    const flags = {
      '--tls-ca': write('ca.crt', authority.cert),
      '--tls-cert': write('caller.crt', identity.cert),
      '--tls-key': write('caller.key', identity.key),
      '--token-file': write('token', `# mine\n${TOKENS[1]}\n`),
    };
    const classify = (given: Readonly<Record<string, string>>) =>
      vitserve(t, [
        'classify',
        '--address',
        server.address,
        '--timeout',
        '5s',
        ...Object.entries(given).flat(),
        image,
      ]);
    const answered = await classify(flags);
    assert.equal(answered.code, 0, answered.stderr);
    const benching = [
      'bench',
      '--address',
      server.address,
      '--callers',
      '1',
      '--warm-up',
      '0s',
      '--duration',
      '200ms',
    ];
    const measured = await vitserve(t, [...benching, ...Object.entries(flags).flat(), image]);
    assert.equal(measured.code, 0, measured.stderr);
    const { '--token-file': _, ...tokenless } = flags;
    assert.match((await classify(tokenless)).stderr, /a token is needed/);
    assert.equal(
      (await classify({ '--tls-ca': flags['--tls-ca'], '--token-file': flags['--token-file'] }))
        .code,
      1,
    );
    const unpaired = await classify({ '--tls-cert': flags['--tls-cert'] });
    assert.deepEqual(
      [unpaired.code, unpaired.stderr],
      [2, 'vitserve: tls-cert needs its key: give tls-key too\n'],
    );
    const foreignKey = write('foreign.key', callers.issue({ name: 'other' }).key);
    const mismatched = await classify({ ...flags, '--tls-key': foreignKey });
    assert.match(
      mismatched.stderr,
      /^vitserve: tls-ca, tls-cert or tls-key is not PEM, or the key does not belong to the certificate/,
    );
    const missing = await classify({ '--tls-ca': join(folder, 'nowhere') });
    assert.match(missing.stderr, /^vitserve: tls-ca: can't read .*nowhere/);
  });
});

function tokenFile(
  scope: Scope,
  content = `# of team one\n${TOKENS[0]}\n\n# of team two\n  ${TOKENS[1]}  \n`,
): string {
  const path = join(temporaryFolder(scope), 'tokens');
  writeFileSync(path, content);
  return path;
}

describe('a server with tokens', () => {
  test('answers callers with one of them and rejects all others, except for health', async (t) => {
    const path = tokenFile(t);
    const server = await ServerProcess.start(t, [
      ...SIMULATED,
      '--token-file',
      path,
      '--log-level',
      'trace',
    ]);
    const image = await plainPng(GREEN);
    const clientWith = (token: string | undefined) =>
      new PlainClient(t, server.address, {}, token === undefined ? {} : { token });
    for (const token of TOKENS.slice(0, 2)) {
      assert.deepEqual((await clientWith(token).embed({ image })).embedding, GREEN);
      assert.equal((await clientWith(token).getModel()).classCount, 10);
      assert((await clientWith(token).reflectedServices()).includes(SERVICE));
    }
    for (const token of [undefined, TOKENS[2], TOKENS[0].slice(1), `${TOKENS[0]}x`, 'short']) {
      const stranger = clientWith(token);
      for (const call of [
        stranger.embed({ image }),
        stranger.classify({ image }),
        stranger.getModel(),
      ]) {
        const { code, reason } = await failureOf(call);
        assert.deepEqual([code, reason], ['UNAUTHENTICATED', 'TOKEN_INVALID'], `token "${token}"`);
      }
      assert.equal((await stranger.stream().ended)?.reason, 'TOKEN_INVALID');
      assert.equal((await failureOf(stranger.reflectedServices())).reason, 'TOKEN_INVALID');
      assert.equal(await stranger.check(), 'SERVING');
    }
    const refused = { code: 'UNAUTHENTICATED', reason: 'TOKEN_INVALID' };
    assert.equal(await server.metric('vitserve_requests_total', refused), 5 * 5);

    writeFileSync(path, `${TOKENS[1]}\n${TOKENS[2]}\n`);
    server.signal('SIGHUP');
    await eventually('the third is valid', () =>
      clientWith(TOKENS[2])
        .getModel()
        .catch(() => null),
    );
    assert.equal((await failureOf(clientWith(TOKENS[0]).getModel())).reason, 'TOKEN_INVALID');
    assert.equal((await clientWith(TOKENS[1]).getModel()).classCount, 10);

    writeFileSync(path, '# nobody\n');
    server.signal('SIGHUP');
    await server.logged('credentials not loaded: those before stay in use');
    assert.equal((await clientWith(TOKENS[1]).getModel()).classCount, 10);
    for (const token of TOKENS) assert(!server.output.includes(token), 'no token is logged');
  });
});

describe('start', () => {
  test('is refused if a requested setting can’t be met, with all problems at once', async (t) => {
    const folder = temporaryFolder(t);
    const write = (name: string, content: string) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    const { cert, key } = newServerCertificate();
    const [certPath, keyPath] = [write('tls.crt', cert), write('tls.key', key)];
    const serve = (...flags: string[]) =>
      vitserve(t, [
        'serve',
        ...SIMULATED,
        '--address',
        '127.0.0.1:0',
        '--http-address',
        '127.0.0.1:0',
        ...flags,
      ]);

    const withoutAuthority = await serve(
      ...['--tls-cert', certPath, '--tls-key', keyPath, '--tls-client-ca', write('empty', '')],
      ...['--token-file', write('tokens', 'short\n')],
    );
    assert.equal(withoutAuthority.code, 1);
    assert.match(
      withoutAuthority.stdout,
      /tls-client-ca: .*empty holds no certificate in PEM form/,
    );
    assert.match(
      withoutAuthority.stdout,
      /token-file: line 1 of .*tokens has fewer than 16 characters/,
    );
    assert(!withoutAuthority.stdout.includes('short'));

    const unusable = await serve('--tls-client-ca', certPath, '--tls-key', keyPath);
    assert.equal(unusable.code, 2);
    assert.match(unusable.stderr, /tls-key needs its certificate/);
    assert.match(unusable.stderr, /tls-client-ca needs TLS/);
  });
});
