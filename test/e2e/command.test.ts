/** The program as a command: what it prints, where, and with which exit code. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { type ClassifyResponse, PlainClient } from '../support/grpc-client.js';
import { jpeg, TEXT, webp } from '../support/images.js';
import {
  freePort,
  ON_CPU,
  ONE_EACH,
  REPOSITORY,
  ServerProcess,
  suiteScope,
  temporaryFolder,
  vitserve,
} from '../support/server.js';

describe('vitserve classify', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let cat: string;
  let dog: string;
  let letter: string;

  before(async () => {
    const folder = temporaryFolder(scope);
    cat = join(folder, 'cat.jpg');
    dog = join(folder, 'dog.webp');
    letter = join(folder, 'letter.txt');
    writeFileSync(cat, await jpeg(1));
    writeFileSync(dog, await webp(2));
    writeFileSync(letter, TEXT);
    server = await ServerProcess.start(scope, [...ON_CPU, ...ONE_EACH]);
    client = new PlainClient(scope, server.address);
  });

  const classify = (scope: { after(clean: () => unknown): void }, ...args: string[]) =>
    vitserve(scope, ['classify', '--address', server.address, ...args]);

  test('prints the labels of each file, in the order of the files', async (t) => {
    const { code, stdout, stderr } = await classify(t, '--top-k', '2', dog, cat);
    assert.equal(stderr, '');
    assert.equal(code, 0);
    const paragraphs = stdout.trimEnd().split(/\n(?=\S)/);
    assert.equal(paragraphs.length, 2);
    for (const [at, file] of [dog, cat].entries()) {
      const { predictions } = await client.classify({ image: readFileSync(file), topK: 2 });
      const [heading, ...lines] = (paragraphs[at] ?? '').split('\n');
      assert.match(
        heading ?? '',
        / {2}\(vit-cifar10\/1 on cpu; decode [\d.]+ ms, queue [\d.]+ ms, inference [\d.]+ ms\)$/,
      );
      assert(heading?.startsWith(file));
      assert.deepEqual(
        lines.map((line) => line.trim().split(/\s+/).slice(0, 2)),
        predictions.map(({ label, score }) => [label, (score * 100).toFixed(1)]),
      );
    }
  });

  test('--json prints one object a line, with the whole answer', async (t) => {
    const { code, stdout, stderr } = await classify(t, '--json', cat, dog);
    assert.deepEqual([code, stderr], [0, '']);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as ClassifyResponse & { file: string });
    assert.deepEqual(
      lines.map(({ file }) => file),
      [cat, dog],
    );
    for (const { file, predictions, model, timing } of lines) {
      const expected = await client.classify({ image: readFileSync(file) });
      assert.deepEqual(predictions, expected.predictions);
      assert.deepEqual(model, expected.model);
      assert.equal(timing.batchSize >= 1, true);
    }
  });

  test('a missing file and a bad one are reported, the others answered; exit code 1', async (t) => {
    const { code, stdout, stderr } = await classify(t, cat, 'not-there.jpg', letter, dog);
    assert.equal(code, 1);
    assert.deepEqual(
      stdout
        .split('\n')
        .filter((line) => /^\S/.test(line))
        .map((line) => line.split('  ')[0]),
      [cat, dog],
    );
    const [missing, bad, ...rest] = stderr.trimEnd().split('\n');
    assert.match(missing ?? '', /^not-there\.jpg: ENOENT: no such file/);
    assert.match(bad ?? '', /letter\.txt: .*is text: send a JPEG, PNG or WebP file$/);
    assert.deepEqual(rest, []);
  });

  test('--json reports a failure in the file’s own object, with its reason', async (t) => {
    const { code, stdout, stderr } = await classify(t, '--json', letter, cat);
    assert.equal(code, 1);
    assert.equal(stderr, '');
    const [bad, good] = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(bad.file, letter);
    assert.equal(bad.error.code, 'INVALID_ARGUMENT');
    assert.equal(bad.error.reason, 'IMAGE_UNSUPPORTED');
    assert.equal(good.predictions.length, 5);
  });

  test('takes the server’s address from the environment', async (t) => {
    const { code } = await vitserve(t, ['classify', cat], { VITSERVE_ADDRESS: server.address });
    assert.equal(code, 0);
  });

  test('without a server it says so and how to start one', async (t) => {
    const address = `127.0.0.1:${await freePort()}`;
    const { code, stdout, stderr } = await vitserve(t, [
      'classify',
      '--address',
      address,
      '--timeout',
      '5s',
      cat,
    ]);
    assert.deepEqual([code, stdout], [1, '']);
    assert.equal(
      stderr,
      `${cat}: can't connect to ${address}: connect ECONNREFUSED ${address} (start a server with "vitserve serve")\n`,
    );
  });

  test('without a server the remaining files are not sent; each has its JSON line', async (t) => {
    const args = [
      '--address',
      `127.0.0.1:${await freePort()}`,
      '--timeout',
      '5s',
      ...Array<string>(40).fill(cat),
    ];
    const { stderr } = await vitserve(t, ['classify', ...args]);
    const lines = stderr.trimEnd().split('\n');
    assert.equal(lines.at(-1), `${40 - (lines.length - 1)} more files not sent`);
    const { code, stdout } = await vitserve(t, ['classify', '--json', ...args]);
    const errors = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).error.code);
    assert.deepEqual([code, errors], [1, Array<string>(40).fill('UNAVAILABLE')]);
  });

  test('a server that does not answer is reported in one line', async (t) => {
    const silent = createServer().listen(0, '127.0.0.1');
    t.after(() => silent.close());
    await once(silent, 'listening');
    const address = `127.0.0.1:${(silent.address() as { port: number }).port}`;
    const { code, stderr } = await vitserve(t, [
      'classify',
      '--address',
      address,
      '--timeout',
      '300ms',
      cat,
    ]);
    assert.deepEqual([code, stderr], [1, `${cat}: no answer within 300 ms (--timeout)\n`]);
  });
});

describe('vitserve inspect --live', () => {
  const scope = suiteScope();
  let server: ServerProcess;

  before(async () => {
    server = await ServerProcess.start(scope, [
      '--execution-provider',
      'simulated:1:3,8:6',
      ...ONE_EACH,
    ]);
  });

  const live = (scope: { after(clean: () => unknown): void }, ...args: string[]) =>
    vitserve(scope, ['inspect', '--live', ...args], { VITSERVE_HTTP_ADDRESS: server.httpAddress });

  test('--json has the models with their batches’ costs, the processes and the load', async (t) => {
    const { code, stdout, stderr } = await live(t, '--json');
    assert.deepEqual([code, stderr], [0, '']);
    const { state, models, processes, permits, decodeQueueLength } = JSON.parse(stdout);
    assert.equal(state, 'serving');
    assert.deepEqual([permits.inUse, permits.limit > 0, decodeQueueLength], [0, true, 0]);
    assert.deepEqual(
      processes.map(({ role, index, ready }: { role: string; index: number; ready: boolean }) => [
        role,
        index,
        ready,
      ]),
      [
        ['decoder', 0, true],
        ['inference', 0, true],
      ],
    );
    const [model, ...others] = models;
    assert.deepEqual(
      [others.length, model.name, model.executionProvider],
      [0, 'vit-cifar10', 'simulated'],
    );
    const one = model.batchCosts.find(({ batchSize }: { batchSize: number }) => batchSize === 1);
    assert.ok(one.milliseconds >= 3, `${one.milliseconds} ms for what takes 3`);
    assert.ok(model.images > 0, 'the exercise has executed images');
  });

  test('prints the same for people', async (t) => {
    const { code, stdout } = await live(t);
    assert.equal(code, 0);
    assert.match(stdout, /^vitserve at [\d.:]+: serving\n {2}permits +0 of \d+ in use\n/);
    assert.match(stdout, /\n {2}inference 0 +ready, /);
    assert.match(
      stdout,
      /\nvit-cifar10\/\d+ on simulated: \d+ executions, [\d.]+ images each; 0 waiting\n/,
    );
    assert.match(stdout, /\n +1 +\d+\.\d\d +\d+\n/);
  });

  test('without a server, or with another one, it says what to name', async (t) => {
    const nowhere = await live(t, '--http-address', `127.0.0.1:${await freePort()}`);
    assert.equal(nowhere.code, 1);
    assert.match(
      nowhere.stderr,
      /no metrics at .*ECONNREFUSED.*: give the HTTP address of a running server/,
    );
    const { code, stderr } = await live(t, 'models/vit-cifar10', '--providers');
    assert.equal(code, 2);
    assert.match(stderr, /live asks a running server/);
    assert.match(stderr, /leave out live or providers/);
  });
});

test('--version prints the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as {
    version: string;
  };
  assert.deepEqual(await vitserve(t, ['--version']), {
    code: 0,
    stdout: `${version}\n`,
    stderr: '',
  });
});

test('--help names the commands, and a command’s --help all of its flags', async (t) => {
  const [general, serve, classify] = await Promise.all([
    vitserve(t, ['--help']),
    vitserve(t, ['serve', '--help']),
    vitserve(t, ['classify', '--help']),
  ]);
  for (const { code, stderr } of [general, serve, classify])
    assert.deepEqual([code, stderr], [0, '']);
  for (const command of ['serve', 'classify'])
    assert.match(general.stdout, new RegExp(`^ +(vitserve )?${command} `, 'm'));
  for (const flag of ['address', 'permits', 'execution-provider', 'drain-delay']) {
    assert.match(serve.stdout, new RegExp(`--${flag}\\b`));
  }
  for (const flag of ['address', 'top-k', '[no-]json'])
    assert(classify.stdout.includes(`--${flag}`), flag);
});

test('help means --help', async (t) => {
  const [asked, flag] = await Promise.all([vitserve(t, ['help']), vitserve(t, ['--help'])]);
  assert.deepEqual([asked.code, asked.stdout], [0, flag.stdout]);
  const [askedServe, flagServe] = await Promise.all([
    vitserve(t, ['help', 'serve']),
    vitserve(t, ['serve', '--help']),
  ]);
  assert.deepEqual([askedServe.code, askedServe.stdout], [0, flagServe.stdout]);
});

test('without a command the help goes to standard error, with exit code 2', async (t) => {
  const [none, help] = await Promise.all([vitserve(t, []), vitserve(t, ['--help'])]);
  assert.deepEqual(none, { code: 2, stdout: '', stderr: help.stdout });
});

test('an unknown command is rejected with exit code 2, and the nearest one is named', async (t) => {
  assert.deepEqual(await vitserve(t, ['serv']), {
    code: 2,
    stdout: '',
    stderr:
      'vitserve: unknown command "serv"; did you mean "serve"? ("vitserve --help" lists the commands)\n',
  });
});

test('all wrong settings are reported at once, one line each, with exit code 2', async (t) => {
  const { code, stdout, stderr } = await vitserve(
    t,
    ['serve', '--permits', '0', '--adress', '127.0.0.1:1', '--drain-delay', 'soon', 'model.onnx'],
    { VITSERVE_LOG_LEVEL: 'loud', VITSERVE_PERMIT: '3' },
  );
  assert.equal(code, 2);
  assert.equal(stdout, '');
  const lines = stderr.trimEnd().split('\n');
  for (const begin of [
    'vitserve: --permits: invalid value "0"',
    'vitserve: unknown flag --adress: did you mean --address?',
    'vitserve: --drain-delay: invalid value "soon"',
    'vitserve: unexpected argument "model.onnx"',
    'vitserve: VITSERVE_LOG_LEVEL: invalid value "loud"',
    'vitserve: unknown variable VITSERVE_PERMIT: did you mean VITSERVE_PERMITS?',
  ]) {
    assert(
      lines.some((line) => line.startsWith(begin)),
      `a line that begins "${begin}" in:\n${stderr}`,
    );
  }
  assert.equal(lines.length, 6, stderr);
});
