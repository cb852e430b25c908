/**
 * No program writes a file outside of where it should, opens a socket beside its ports, or calls
 * another host. The native library for inference does all of this unless prevented.
 *
 * Each command runs with its home, its temporary folder and the like pointed at empty folders, and
 * with a variable of the environment that would let the library do so. Files that appear there are
 * visible without any tool; strace, if available, sees every file and every socket.
 */
import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { COMMAND_NAMES, type CommandName } from '#vitserve/cli/commands.js';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg } from '../support/images.js';
import {
  familyOf,
  filesWrittenBy,
  STRACE,
  type Surroundings,
  socketsOf,
  surroundings,
  trace,
} from '../support/quiet-run.js';
import {
  type Finished,
  MODELS,
  ON_CPU,
  ONE_EACH,
  PROGRAM,
  runProgram,
  type Scope,
  ServerProcess,
  SIMULATED,
  suiteScope,
  temporaryFolder,
} from '../support/server.js';

const VERSION = join(MODELS, 'vit-cifar10/1');
const scope = suiteScope();
const folder = temporaryFolder(scope);
const picture = join(folder, 'one.jpg');
const wheel = join(folder, 'none.whl');
const labels = join(folder, 'labels.csv');
/** For the commands that call one. */
let server: ServerProcess;

before(async () => {
  server = await ServerProcess.start(scope, SIMULATED);
  writeFileSync(picture, await jpeg(1));
  writeFileSync(wheel, 'no wheel');
  writeFileSync(labels, `${picture},0\n`);
  // Without the checkpoint beside it, so that the graph is imported.
  cpSync(join(VERSION, 'model.onnx'), join(folder, 'graph.onnx'));
});

interface Use {
  readonly args: (out: string) => readonly string[];
  /** Default 0. */
  readonly code?: number;
  /** Whether it calls the server. */
  readonly calls?: boolean;
  /** The temporary folder may hold something while it runs, but must be empty in the end. */
  readonly usesTemporary?: boolean;
}

const LABELS = ['--recipe', 'hf-vit', '--labels', 'none'];

const USES: Readonly<Record<Exclude<CommandName, 'serve'>, readonly Use[]>> = {
  classify: [{ args: () => ['--address', server.address, picture], calls: true }],
  bench: [
    {
      args: () => [
        '--address',
        server.address,
        '--callers',
        '1',
        '--duration',
        '3s',
        '--warm-up',
        '100ms',
        picture,
      ],
      calls: true,
    },
  ],
  import: [
    {
      args: (out) => [
        join(folder, 'graph.onnx'),
        '--model-repository',
        out,
        '--name',
        'a',
        ...LABELS,
      ],
    },
  ],
  evaluate: [{ args: () => [VERSION, labels] }],
  convert: [{ args: (out) => [VERSION, '--model-repository', out, '--name', 'a'] }],
  quantize: [
    { args: (out) => [VERSION, '--out', join(out, 'a/1'), '--images', folder] },
    { args: (out) => [VERSION, '--out', join(out, 'a/1'), '--dtype', 'float16'] },
  ],
  inspect: [
    { args: () => [VERSION] },
    { args: () => [VERSION, '--providers'], usesTemporary: true },
    { args: () => ['--live', '--http-address', server.httpAddress], calls: true },
  ],
  'install-cuda': [{ args: (out) => ['--from', wheel, '--into', out], code: 1 }],
};

/** A command may connect only to the server's two ports. */
function isOwnAddress(line: string): boolean {
  const ports = [server.port, Number(server.httpAddress.split(':').at(-1))];
  return ports.some((port) => line === `connect 127.0.0.1:${port}`);
}

async function finished(
  scope: Scope,
  within: readonly string[],
  args: readonly string[],
  around: Surroundings,
): Promise<Finished> {
  const [command, ...rest] = [...within, process.execPath, PROGRAM, ...args];
  return await runProgram(scope, command as string, rest, around.environment);
}

describe('a command', () => {
  test('is covered, for every command', () => {
    assert.deepEqual(
      Object.keys(USES).sort(),
      COMMAND_NAMES.filter((name) => name !== 'serve').sort(),
    );
  });

  for (const [name, uses] of Object.entries(USES)) {
    for (const [index, use] of uses.entries()) {
      const what = `${name}${index === 0 ? '' : `, in way ${index + 1}`}`;

      test(`${what}: leaves no files`, async (t) => {
        const around = surroundings(t);
        const { code, stderr } = await finished(t, [], [name, ...use.args(around.out)], around);
        assert.equal(code, use.code ?? 0, stderr);
        assert.deepEqual(around.leftBehind(), []);
      });

      test(`${what}: every file and every socket`, {
        skip: !STRACE && 'strace is missing, or may not trace',
      }, async (t) => {
        const around = surroundings(t);
        const seen = trace(t);
        const { code, stderr } = await finished(
          t,
          seen.within,
          [name, ...use.args(around.out)],
          around,
        );
        assert.equal(code, use.code ?? 0, stderr);
        const allowed = [
          around.out,
          ...(use.usesTemporary === true ? [around.environment.TMPDIR as string] : []),
        ];
        const elsewhere = (await seen.written()).filter(
          (path) => !allowed.some((place) => path.startsWith(`${place}/`)),
        );
        assert.deepEqual(elsewhere, []);
        const network = await seen.network();
        if (use.calls !== true) assert.deepEqual(network, []);
        else assert.ok(network.some(isOwnAddress), network.join('\n'));
        const foreign = network.filter(
          (line) => line !== 'socket AF_INET SOCK_STREAM' && !isOwnAddress(line),
        );
        assert.deepEqual(foreign, []);
        assert.deepEqual(around.leftBehind(), []);
      });
    }
  }
});

describe('the server', () => {
  const flags = ['--model-repository', MODELS, ...ON_CPU, ...ONE_EACH];

  /** After a few calls and a scrape of its metrics. */
  async function use(t: Scope, serving: ServerProcess): Promise<void> {
    const client = new PlainClient(t, serving.address);
    for (const seed of [1, 2, 3]) await client.classify({ image: await jpeg(seed), topK: 1 });
    assert.equal((await serving.get('/metrics')).status, 200);
    client.close();
  }

  const portsOf = (serving: ServerProcess) => [
    serving.port,
    Number(serving.httpAddress.split(':').at(-1)),
  ];

  test('has no socket but its ports, no file but its shared memory, and leaves none', async (t) => {
    const around = surroundings(t);
    const serving = await ServerProcess.start(t, flags, { environment: around.environment });
    await use(t, serving);
    const family = familyOf(serving.pid);
    assert.ok(family.length >= 3, 'the front, a decoder process and an inference process');
    const ports = portsOf(serving);
    const sockets = family.flatMap(socketsOf);
    assert.deepEqual(
      ports.filter((port) => !sockets.some(({ localPort }) => localPort === port)),
      [],
      'sockets can be seen',
    );
    const foreign = sockets.filter(
      ({ kind, localPort, remotePort }) =>
        kind === 'udp' || !(ports.includes(localPort) || ports.includes(remotePort)),
    );
    assert.deepEqual(foreign, []);
    assert.deepEqual(family.flatMap(filesWrittenBy), []);
    await serving.stop();
    assert.deepEqual(around.leftBehind(), []);
  });

  test('from its start to its end', {
    skip: !STRACE && 'strace is missing, or may not trace',
  }, async (t) => {
    const around = surroundings(t);
    const seen = trace(t);
    const serving = await ServerProcess.start(t, flags, {
      environment: around.environment,
      within: seen.within,
    });
    await use(t, serving);
    await serving.stop();
    assert.deepEqual(await seen.written(), []);
    const network = await seen.network();
    assert.ok(network.includes('bind 127.0.0.1:0'), network.join('\n'));
    // Before it serves it has called itself, on a port for that alone.
    const own = /^(?:socket AF_INET SOCK_STREAM|bind 127\.0\.0\.1:0|connect 127\.0\.0\.1:\d+)$/;
    assert.deepEqual(
      network.filter((line) => !own.test(line)),
      [],
    );
    assert.deepEqual(around.leftBehind(), []);
  });
});
