/**
 * The programs of docs/start/clients.md, compiled and run as they stand: each classifies a picture
 * and gets the answer that any client gets, and prints the reason of an error. What needs a tool or
 * modules that are not here is skipped, and says so; nothing is fetched (test/interop/README.md).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg, TEXT } from '../support/images.js';
import { ON_CPU, ONE_EACH, ServerProcess, suiteScope, temporaryFolder } from '../support/server.js';
import { blocksOf, REPOSITORY, read } from './repository.js';

const PAGE = 'docs/start/clients.md';
const PAGE_ADDRESS = '127.0.0.1:50051';
const SHOWN_PREDICTIONS = 2;
/** The first compilation of grpc-go takes a minute where there is little to compile with. */
const LIMIT_MS = 240_000;
const blocks = blocksOf(PAGE).filter(({ name }) => name !== '');
const PROJECTS = join(REPOSITORY, 'test/interop/clients');
const PYTHON = [join(REPOSITORY, 'tools/.venv/bin/python'), 'python3'];

interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(
  folder: string,
  [command, ...args]: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Finished {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(NODE_TEST_CONTEXT|GOFLAGS|GRPC_)/.test(name),
  );
  const env = { ...Object.fromEntries(kept), ...more };
  const done = spawnSync(command as string, args, {
    cwd: folder,
    env,
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  return {
    status: done.status,
    stdout: stripVTControlCharacters(done.stdout ?? ''),
    stderr: done.stderr ?? String(done.error),
  };
}

function textOf(name: string): string {
  return (
    blocks.find((block) => block.name === name)?.text ??
    assert.fail(`${PAGE} has a block named ${name}`)
  );
}

/** A tool of the machine, or null. */
function toolOf(...candidates: readonly string[]): string | null {
  return (
    candidates.find((command) => spawnSync(command, ['--version']).error === undefined) ?? null
  );
}

function pythonWith(modules: string): string | null {
  return (
    PYTHON.find((python) => spawnSync(python, ['-c', `import ${modules}`]).status === 0) ?? null
  );
}

/** Whatever compiles protos here. */
function protoc(): readonly string[] | null {
  const python = pythonWith('grpc_tools');
  return python === null
    ? toolOf('protoc') === null
      ? null
      : ['protoc']
    : [python, '-m', 'grpc_tools.protoc'];
}

test('every program of the page is run here', () => {
  assert.deepEqual(
    blocks.map(({ name }) => name),
    [
      'go-stubs',
      'go-client',
      'java-pom',
      'java-client',
      'python-stubs',
      'python-client',
      'node-client',
    ],
  );
});

describe('with a server', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let folder: string;
  let photo: string;
  let letter: string;
  let expected: string;

  before(async () => {
    server = await ServerProcess.start(scope, [...ON_CPU, ...ONE_EACH]);
    folder = temporaryFolder(scope);
    [photo, letter] = [join(folder, 'photo.jpg'), join(folder, 'letter.txt')];
    const image = await jpeg(1);
    writeFileSync(photo, image);
    writeFileSync(letter, TEXT);
    const { predictions } = await new PlainClient(scope, server.address).classify({
      image,
      topK: SHOWN_PREDICTIONS,
    });
    expected = predictions.map(({ label, score }) => `${label}: ${score.toFixed(3)}\n`).join('');
  });

  /** A folder as the page wants it: with a copy of proto/, and the program in its place. */
  function project(name: string, program: string, block: string): string {
    const place = join(folder, name);
    cpSync(join(REPOSITORY, 'proto'), join(place, 'proto'), { recursive: true });
    mkdirSync(join(place, program, '..'), { recursive: true });
    const text = textOf(block);
    assert.ok(text.includes(PAGE_ADDRESS), `${block} names the address`);
    writeFileSync(join(place, program), text.replaceAll(PAGE_ADDRESS, server.address));
    return place;
  }

  function check(call: (image: string) => Finished): void {
    const answer = call(photo);
    assert.equal(answer.status, 0, answer.stdout + answer.stderr);
    assert.equal(answer.stdout, expected);
    const refused = call(letter);
    assert.notEqual(refused.status, 0);
    assert.match(
      refused.stdout,
      /^(INVALID_ARGUMENT|InvalidArgument) the image is .*\nreason: IMAGE_UNSUPPORTED\n$/,
    );
  }

  test('Node.js', () => {
    const place = project('node', 'client.mjs', 'node-client');
    symlinkSync(join(REPOSITORY, 'node_modules'), join(place, 'node_modules'));
    check((image) => run(place, [process.execPath, 'client.mjs', image]));
  });

  test('Python', (t) => {
    const python = pythonWith('grpc_tools, grpc_status, google.rpc.error_details_pb2');
    if (python === null) return t.skip('there is no Python with what the page installs');
    const place = project('python', 'client.py', 'python-client');
    const [install = '', stubs = ''] = textOf('python-stubs').trim().split('\n');
    assert.match(install, /^pip install /);
    const made = run(place, [python, ...stubs.split(' ').slice(1)]);
    assert.equal(made.status, 0, made.stderr);
    check((image) => run(place, [python, 'client.py', image]));
  });

  test('Go', (t) => {
    const go = toolOf('go', '/usr/local/go/bin/go');
    const compiler = protoc();
    if (go === null || compiler === null)
      return t.skip(`there is no ${go === null ? 'Go' : 'protoc'} here`);
    const place = project('go', 'main.go', 'go-client');
    cpSync(join(PROJECTS, 'go'), place, { recursive: true });
    const offline = {
      GOPROXY: 'off',
      GOTOOLCHAIN: 'local',
      GOFLAGS: '-mod=readonly -buildvcs=false',
    };
    const tools = join(place, 'bin');
    mkdirSync(tools);
    const plugins = [
      'google.golang.org/protobuf/cmd/protoc-gen-go',
      'google.golang.org/grpc/cmd/protoc-gen-go-grpc',
    ];
    const lines = textOf('go-stubs').trim().split('\n');
    for (const plugin of plugins) assert.ok(lines.includes(`go install ${plugin}@latest`), plugin);
    const built = run(place, [go, 'build', '-o', `${tools}/`, ...plugins], offline);
    if (/module lookup disabled by GOPROXY=off|go: go\.mod requires go/.test(built.stderr)) {
      return t.skip(
        'a Go that is too old, or has not the modules of test/interop/clients/go: its README says how to get them',
      );
    }
    assert.equal(built.status, 0, built.stderr);

    mkdirSync(join(place, 'gen'));
    const [command = ''] = lines.filter((line) => line.startsWith('protoc '));
    const path = { PATH: `${tools}:${process.env.PATH}` };
    const made = run(place, [...compiler, ...command.split(' ').slice(1)], path);
    assert.equal(made.status, 0, made.stderr);
    const program = run(place, [go, 'build', '-o', 'client', '.'], offline);
    assert.equal(program.status, 0, program.stderr);
    check((image) => run(place, ['./client', image]));
  });

  test('Java', (t) => {
    const maven = toolOf('mvn');
    if (maven === null) return t.skip('there is no Maven here');
    const place = project('java', 'src/main/java/Client.java', 'java-client');
    cpSync(join(PROJECTS, 'java/pom.xml'), join(place, 'pom.xml'));
    const pom = new Set(
      read('test/interop/clients/java/pom.xml')
        .split('\n')
        .map((line) => line.trim()),
    );
    for (const line of textOf('java-pom').trim().split('\n'))
      assert.ok(pom.has(line.trim()), `the pom has ${line}`);
    const built = run(place, [maven, '-o', '-B', '-q', 'compile']);
    if (/offline/i.test(built.stdout)) {
      return t.skip(
        'Maven has not what test/interop/clients/java needs: its README says how to get it',
      );
    }
    assert.equal(built.status, 0, built.stdout);
    check((image) => run(place, [maven, '-o', '-B', '-q', 'exec:java', `-Dexec.args=${image}`]));
  });
});
