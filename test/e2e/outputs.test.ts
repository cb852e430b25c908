/** Commands whose output is not read end as other programs do; a server survives its terminal. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { plainPng } from '../support/images.js';
import {
  childrenOf,
  eventually,
  isAlive,
  MODELS,
  ONE_EACH,
  PROGRAM,
  type Scope,
  ServerProcess,
  SIMULATED,
  suiteScope,
  temporaryFolder,
} from '../support/server.js';

type Closed = 'stdout' | 'stderr';

/** Runs a command, one of whose outputs has no reader when it begins to write. */
async function runClosed(scope: Scope, closed: Closed, args: readonly string[]) {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  scope.after(() => child.exitCode ?? child.kill('SIGKILL'));
  child[closed].destroy();
  let said = '';
  child[closed === 'stdout' ? 'stderr' : 'stdout']
    .setEncoding('utf8')
    .on('data', (text: string) => {
      said += text;
    });
  const [code, signal] = await once(child, 'close');
  return { code, signal, said };
}

describe('a command whose reader has gone', () => {
  const scope = suiteScope();
  const folder = temporaryFolder(scope);
  const image = join(folder, 'image.png');
  const model = join(MODELS, 'vit-cifar10/1');
  let server: ServerProcess;
  const address = async () => {
    server ??= await ServerProcess.start(scope, SIMULATED);
    writeFileSync(image, await plainPng([1, 2, 3]));
    return server.address;
  };
  const convert = (place: string) => [
    'convert',
    '--random',
    'Ti/16',
    '--out',
    join(folder, place, '1'),
  ];

  const COMMANDS: Readonly<Record<string, () => Promise<string[]>>> = {
    '--help': async () => ['--help'],
    'serve --help': async () => ['serve', '--help'],
    '--version': async () => ['--version'],
    classify: async () => [
      'classify',
      '--address',
      await address(),
      ...Array<string>(20).fill(image),
    ],
    'classify --json': async () => ['classify', '--json', '--address', await address(), image],
    inspect: async () => ['inspect', model],
    'inspect --live': async () => {
      await address();
      return ['inspect', '--live', '--http-address', server.httpAddress];
    },
    bench: async () => [
      'bench',
      '--address',
      await address(),
      '--duration',
      '200ms',
      '--warm-up',
      '0s',
      '--callers',
      '1',
      image,
    ],
    convert: async () => convert('printed'),
  };
  const note =
    'vitserve: its weights are random, so its answers mean nothing: serve it with --allow-random-weights, for measurements only\n';
  for (const [name, args] of Object.entries(COMMANDS)) {
    test(`${name}: ends with the code of SIGPIPE, without a message`, async (t) => {
      const said = name === 'convert' ? note : '';
      assert.deepEqual(await runClosed(t, 'stdout', await args()), {
        code: 141,
        signal: null,
        said,
      });
    });
  }

  test('a written model stays, even if the summary is not read', () => {
    assert.ok(existsSync(join(folder, 'printed/1/model.json')));
  });

  test('with standard error closed the result is still printed', async (t) => {
    const { code, said } = await runClosed(t, 'stderr', [
      'classify',
      '--address',
      await address(),
      join(folder, 'not-there.png'),
      image,
    ]);
    assert.equal(code, 1, 'one file has no answer');
    assert.match(said, /image\.png {2}\(/);
    assert.deepEqual(
      [
        await runClosed(t, 'stderr', convert('unsaid')),
        await runClosed(t, 'stderr', ['bogus']),
      ].map((run) => run.code),
      [0, 2],
    );
  });
});

test('a full disk under standard output is reported with exit code 1', async (t) => {
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const { status, stderr } = spawnSync(process.execPath, [PROGRAM, '--help'], {
    stdio: ['ignore', full, 'pipe'],
  });
  assert.deepEqual(
    [status, String(stderr)],
    [1, "vitserve: standard output can't be written (ENOSPC: no space left on device, write)\n"],
  );
});

test('output that a slow reader has not taken is not discarded', async (t) => {
  const missing = Array.from(
    { length: 2_000 },
    (_, index) => `missing-${index}-${'x'.repeat(60)}.jpg`,
  );
  const argv = [PROGRAM, 'classify', '--json', ...missing];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill('SIGKILL'));
  // It has filled the pipe, and writes no more until the test reads.
  let before = 0;
  await eventually('the pipe is full', () => {
    if (child.exitCode !== null) return true;
    const written = bytesWrittenBy(child.pid);
    const isFull = written > 32_768 && written === before;
    before = written;
    return isFull;
  });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  assert.equal(text.split('\n').length - 1, missing.length);
});

function bytesWrittenBy(pid: number | undefined): number {
  const io = readFileSync(`/proc/${pid}/io`, 'utf8');
  return Number(/^wchar: (\d+)$/m.exec(io)?.[1]);
}

describe('few open files', () => {
  const limited = (limit: number, args: readonly string[]) =>
    spawnSync('sh', [
      '-c',
      `ulimit -n ${limit}; exec "$0" "$@"`,
      process.execPath,
      PROGRAM,
      ...args,
    ]);

  test('too few for the program: every command names the limit and what to do', () => {
    for (const args of [['serve'], ['classify', 'x.jpg'], ['--help']]) {
      const { status, stdout, stderr } = limited(64, args);
      assert.deepEqual([status, String(stdout)], [1, '']);
      assert.match(
        String(stderr),
        /^vitserve: the limit of open files is 64, and vitserve needs at least 128: raise it[^\n]*\n$/,
      );
    }
  });

  test('fewer than max-connections needs cause a warning; enough do not', async (t) => {
    const within = (limit: number) => ['sh', '-c', `ulimit -n ${limit}; exec "$@"`, 'sh'];
    const low = await ServerProcess.start(t, SIMULATED, { within: within(256) });
    const { limit, needed } = await low.logged(
      'the limit of open files is too low for max-connections',
    );
    assert.deepEqual([limit, (needed as number) > 1024], [256, true]);
    await low.stop();
    const enough = await ServerProcess.start(t, [...SIMULATED, '--max-connections', '16'], {
      within: within(256),
    });
    await enough.stop();
    assert.ok(!enough.lines.some(({ msg }) => msg?.includes('open files')), enough.output);
  });
});

test('a server outlives its terminal, children and all, and ends with its exit code', async (t) => {
  if (spawnSync('script', ['--version']).error !== undefined)
    return t.skip('there is no script(1)');
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'shm'));
  const [log, code] = [join(folder, 'log'), join(folder, 'code')];
  const flags = [
    '--address',
    '127.0.0.1:0',
    '--http-address',
    '127.0.0.1:0',
    '--shared-memory-dir',
    join(folder, 'shm'),
  ];
  const words = [
    process.execPath,
    PROGRAM,
    'serve',
    ...flags,
    ...SIMULATED,
    '--log-format',
    'json',
  ];
  // The inner shell stays to note the exit code; the outer one, the leader of the session, ends
  // with the terminal, which is when the kernel signals the others. Standard input and error are
  // the terminal's.
  const inner = join(folder, 'inner.sh');
  writeFileSync(
    inner,
    `trap '' HUP; ${words.map((word) => `'${word}'`).join(' ')} > '${log}'; echo $? > '${code}'`,
  );
  const command = `sh '${inner}'; true`;
  const terminal = spawn('script', ['-qec', command, '/dev/null'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const lines = () =>
    (existsSync(log) ? readFileSync(log, 'utf8') : '')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const logged = (msg: string) =>
    eventually(`log line "${msg}"`, () => lines().find((line) => line.msg === msg));
  const pid = (await logged('vitserve')).pid as number;
  t.after(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    terminal.kill('SIGKILL');
  });
  await logged('serving');
  const children = childrenOf(pid);
  assert.equal(children.length, ONE_EACH.length / 2);

  terminal.kill('SIGKILL');
  await logged('looked at the model repository again');
  assert.deepEqual(childrenOf(pid), children);
  process.kill(pid, 'SIGTERM');
  assert.equal(
    await eventually('an exit code', () => existsSync(code) && readFileSync(code, 'utf8').trim()),
    '0',
  );
  assert.ok(!lines().some(({ msg }) => msg === 'process lost'));
});
