/**
 * `vitserve install-cuda` with a package index on this machine, and every step at which CUDA may
 * fail, with libraries that a C compiler makes of one line each: the real ones are hundreds of
 * megabytes and need a GPU.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { KNOWN_PROVIDER } from '#vitserve/tools/install-cuda/known-provider.js';
import {
  findOnnxruntime,
  PROVIDER_FILES,
} from '#vitserve/workers/inference/cuda/provider-place.js';
import { PROGRAM, type Scope, suiteScope, temporaryFolder } from '../support/server.js';
import { zipOf } from '../support/zip.js';

const HERE = process.platform === 'linux' && process.arch === 'x64';
const ON_X64 = HERE ? {} : { skip: 'there is no CUDA provider for this platform' };
const WITH_COMPILER =
  HERE && spawnSync('gcc', ['--version']).status === 0
    ? {}
    : { skip: 'there is no gcc here, or no CUDA for this platform' };

async function installCuda(
  flags: readonly string[],
  environment: Readonly<Record<string, string>> = {},
) {
  const child = spawn(process.execPath, [PROGRAM, 'install-cuda', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, ...environment },
  });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  }
  const [code] = (await once(child, 'close')) as [number];
  return { code, ...said };
}

/** An index that has the wheel, with these bytes in place of the libraries. */
async function startIndex(scope: Scope, library: Buffer): Promise<string> {
  const wheel = zipOf(
    PROVIDER_FILES.map((name) => ({ name: `onnxruntime/capi/${name}`, bytes: library })),
  );
  const server = createServer((request, response) => {
    if (request.url === '/simple/onnxruntime-gpu/') {
      response.setHeader('content-type', 'text/html');
      response.end(
        `<a href="../../files/${KNOWN_PROVIDER.wheel}#sha256=00">${KNOWN_PROVIDER.wheel}</a>`,
      );
    } else if (request.url === `/files/${KNOWN_PROVIDER.wheel}`) response.end(wheel);
    else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('vitserve install-cuda', ON_X64, () => {
  test('a wheel with other libraries than the known ones is not installed', async (t) => {
    const [into, temporary] = [temporaryFolder(t), temporaryFolder(t)];
    const index = await startIndex(t, Buffer.from('something else'));
    const { code, stderr, stdout } = await installCuda(
      ['--index', `${index}/simple/`, '--into', into],
      {
        TMPDIR: temporary,
      },
    );
    assert.equal(code, 1);
    assert.match(
      stderr,
      /can't install from \S+: its libonnxruntime_providers_shared\.so has the SHA-256 \w{64}: give onnxruntime_gpu-/,
    );
    assert.equal(stdout, '');
    assert.deepEqual([readdirSync(into), readdirSync(temporary)], [[], []]);
  });

  test('a missing file, and one that is not a wheel: one line, with the remedy', async (t) => {
    const index = await startIndex(t, Buffer.alloc(0));
    const absent = await installCuda([
      '--index',
      `${index}/elsewhere`,
      '--into',
      temporaryFolder(t),
    ]);
    assert.equal(absent.code, 1);
    assert.match(
      absent.stderr,
      /^vitserve: can't download onnxruntime_gpu-\S+ from http:\S+ \(http:\S+ answered 404\): give a mirror with --index.*\n$/,
    );
    const wrong = await installCuda(['--from', PROGRAM, '--into', temporaryFolder(t)]);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /^vitserve: can't install from \S+main\.js: not a ZIP archive\n$/);
  });

  test('flags that contradict each other', async () => {
    const { code, stderr } = await installCuda(['--cuda', '12', '--into', '/tmp/nowhere', 'FILE']);
    assert.equal(code, 2);
    assert.match(stderr, /takes flags only\n.*into needs from with cuda 12/);
  });
});

describe('where CUDA fails', WITH_COMPILER, () => {
  const scope = suiteScope();
  const folder = HERE ? temporaryFolder(scope) : '';
  const libraries = join(folder, 'libraries');
  const into = join(folder, 'into');
  const CUDA_12 = ['libcublas.so.12', 'libcudart.so.12', 'libcudnn.so.9'];

  function compile(name: string, source: string, needs: readonly string[] = []): void {
    mkdirSync(libraries, { recursive: true });
    writeFileSync(join(folder, 'source.c'), source);
    const links = needs.map((need) => join(libraries, need));
    execFileSync('gcc', [
      ...['-shared', '-fPIC', '-Wl,--no-as-needed', '-Wl,-z,now', `-Wl,-soname,${name}`],
      ...['-o', join(libraries, name), join(folder, 'source.c'), ...links],
    ]);
  }

  /** A driver that knows CUDA up to `version` and answers cuInit with `code`. */
  const compileDriver = (version: number, code: number) =>
    compile(
      'libcuda.so.1',
      `int cuDriverGetVersion(int *version) { *version = ${version}; return 0; }
       int cuInit(unsigned flags) { return ${code}; }
       int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_NO_DEVICE"; return 0; }
       int cuNeeded(void) { return 0; }`,
    );

  /** Installs the stubs as if they came from NuGet, and returns what is missing. */
  async function lastLine(): Promise<string> {
    const { code, stdout, stderr } = await installCuda(
      ['--cuda', '12', '--from', join(folder, 'package.nupkg'), '--into', into],
      {
        LD_LIBRARY_PATH: libraries,
      },
    );
    assert.equal(code, 0, stderr);
    return stdout.trim().split('\n').at(-1) ?? '';
  }

  test('step by step, to a driver with a GPU', async () => {
    for (const name of CUDA_12) compile(name, 'int nothing;');
    compileDriver(12_040, 0);
    const [bridge, provider] = PROVIDER_FILES;
    compile(bridge, 'int Provider_GetHost(void) { return 0; }');
    // Like the real one it asks the bridge for a symbol that none of its files has.
    const source =
      'int cuNeeded(void); int Provider_GetHost(void); int use(void) { return cuNeeded() + Provider_GetHost(); }';
    compile(provider, source, ['libcudart.so.12', 'libcublas.so.12', 'libcuda.so.1']);
    const packed = PROVIDER_FILES.map((name) => ({
      name: `runtimes/linux-x64/native/${name}`,
      bytes: readFileSync(join(libraries, name)),
    }));
    writeFileSync(join(folder, 'package.nupkg'), zipOf(packed));
    for (const name of PROVIDER_FILES) rmSync(join(libraries, name));

    assert.equal(
      await lastLine(),
      'It loads, and the driver has a GPU. "vitserve inspect --providers" shows what runs on it.',
    );
    for (const name of PROVIDER_FILES) assert.ok(existsSync(join(into, name)), name);
    assert.deepEqual(readdirSync(into).sort(), [...PROVIDER_FILES].sort(), 'nothing else is left');

    compileDriver(12_040, 100);
    assert.equal(
      await lastLine(),
      'Still missing on this machine: the NVIDIA driver finds no GPU that it can use: CUDA_ERROR_NO_DEVICE (100)',
    );
    compileDriver(11_080, 0);
    assert.match(
      await lastLine(),
      /: the NVIDIA driver knows CUDA up to 11\.8 and the provider is for CUDA 12: update the driver/,
    );
    compile('libcuda.so.1', 'int nothing;');
    assert.match(
      await lastLine(),
      /: the CUDA provider can't be loaded: .*undefined symbol: cuNeeded/,
    );
    rmSync(join(libraries, 'libcuda.so.1'));
    assert.match(
      await lastLine(),
      /: libcuda\.so\.1, which comes with the NVIDIA driver, is missing/,
    );
    rmSync(join(libraries, 'libcublas.so.12'));
    rmSync(join(libraries, 'libcudnn.so.9'));
    assert.match(
      await lastLine(),
      /: libcublas\.so\.12, libcudnn\.so\.9 can't be loaded: install the libraries of CUDA 12 and cuDNN 9/,
    );
  });

  test('a package for another CUDA than requested is noted', async () => {
    const { stdout } = await installCuda([
      '--cuda',
      '12',
      '--from',
      join(folder, 'package.nupkg'),
      '--into',
      into,
    ]);
    assert.doesNotMatch(stdout, /note:/);
    const packed = PROVIDER_FILES.map((name) => ({
      name: `runtimes/linux-x64/native/${name}`,
      bytes: readFileSync(join(findOnnxruntime().libraryFolder, 'onnxruntime_binding.node')),
    }));
    writeFileSync(join(folder, 'other.nupkg'), zipOf(packed));
    const other = await installCuda([
      '--cuda',
      '12',
      '--from',
      join(folder, 'other.nupkg'),
      '--into',
      into,
    ]);
    assert.match(other.stdout, /note: its libraries are for CUDA \?, not for 12/);
  });
});
