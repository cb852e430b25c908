/** Imports in src/ point one way, there are no cycles, and each package has its modules. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { importProblems, MODULES, onnxruntimeProblems, unitTestProblems } from './import-rules.js';
import { filesBelow, read } from './repository.js';

/** AssemblyScript, compiled by another compiler and part of no import. */
const NOT_TYPESCRIPT = 'src/workers/decode/wasm/';

function problems(sources: Readonly<Record<string, string>>): string[] {
  return importProblems(new Map(Object.entries(sources)));
}

test('src/ keeps the rules', () => {
  const paths = filesBelow('src', '.ts').filter((path) => !path.startsWith(NOT_TYPESCRIPT));
  assert.ok(paths.length > 50);
  const sources = new Map(paths.map((path) => [path.replace(/^src\//, ''), read(path)]));
  assert.deepEqual(importProblems(sources), []);
});

test('docs/internals/architecture.md has every module', () => {
  const table = read('docs/internals/architecture.md').split('| Module | Holds |')[1] ?? '';
  const named = new Set([...table.matchAll(/`([\w/-]+?)(?:\/|\.ts)`/g)].map(([, name]) => name));
  const inside = new Set(['workers/process', 'workers/decode', 'workers/inference']);
  assert.deepEqual(
    MODULES.filter((name) => !named.has(name) && !inside.has(name)),
    [],
  );
});

test('nothing loads onnxruntime but the module that turns its telemetry off', () => {
  const paths = ['src', 'bench', 'test', 'tools'].flatMap((folder) =>
    ['.ts', '.mjs', '.js', '.py'].flatMap((ending) => filesBelow(folder, ending)),
  );
  const own = paths.filter(
    (path) => !path.includes('/.venv/') && !path.startsWith('test/contract/import'),
  );
  const sources = new Map(own.map((path) => [path, read(path)]));
  assert.match(
    sources.get('src/workers/inference/onnxruntime.ts') as string,
    /createRequire\(.*\)\('onnxruntime-node'\)/,
  );
  assert.ok(
    own.some((path) => path.endsWith('.py')) && own.some((path) => path.startsWith('bench/')),
  );
  assert.deepEqual(onnxruntimeProblems(sources), []);
});

test('unit tests start no process and open no socket', () => {
  const paths = filesBelow('test', '.ts');
  const sources = new Map(paths.map((path) => [path.replace(/^test\//, ''), read(path)]));
  assert.ok(paths.some((path) => path.startsWith('test/unit/')));
  assert.deepEqual(unitTestProblems(sources), []);
});

describe('the rules', () => {
  test('let what is sound pass', () => {
    const sources = {
      'errors.ts':
        "export const quiet = 'as the console is'; // unlike console.log and process.env\n",
      'workers/slots.ts':
        "import { openSync } from 'node:fs';\nimport { quiet } from '../errors.js';\n",
      'workers/decode/sniff.ts':
        "import sharp from 'sharp';\nimport {\n  one,\n  two,\n} from '../slots.js';\n",
      'server/pipeline/pipeline.ts': "import { sniff } from '../../workers/decode/sniff.js';\n",
      'server/rpc/call.ts': "import type { Pipeline } from '../pipeline/pipeline.js';\n",
      'cli/load.ts': 'export const path = process.env.PATH;\n',
    };
    assert.deepEqual(problems(sources), []);
  });

  const wrong: Readonly<
    Record<string, readonly [sources: Readonly<Record<string, string>>, problem: RegExp]>
  > = {
    'an import against the arrows': [
      {
        'workers/decode/sniff.ts': "import { a } from '../../server/pipeline/a.js';\n",
        'server/pipeline/a.ts': '',
      },
      /^workers\/decode\/sniff\.ts: workers\/decode must not import server\/pipeline/,
    ],
    'a server that knows tools': [
      {
        'server/rpc/a.ts': "import { a } from '../../tools/import/a.js';\n",
        'tools/import/a.ts': '',
      },
      /server\/rpc must not import tools/,
    ],
    'tools that know the server': [
      {
        'tools/import/a.ts': "import { a } from '../../server/rpc/a.js';\n",
        'server/rpc/a.ts': '',
      },
      /tools must not import server\/rpc/,
    ],
    'a client that knows the server': [
      {
        'client/a.ts': "import { a } from '../server/transport/a.js';\n",
        'server/transport/a.ts': '',
      },
      /client must not import server\/transport/,
    ],
    'an import between kinds of workers': [
      {
        'workers/decode/a.ts': "import type { B } from '../inference/b.js';\n",
        'workers/inference/b.ts': '',
      },
      /workers\/decode must not import workers\/inference/,
    ],
    'an import against the arrows that spans lines': [
      { 'errors.ts': "import {\n  a,\n  b,\n} from './cli/a.js';\n", 'cli/a.ts': '' },
      /errors must not import cli/,
    ],
    'an export against the arrows': [
      { 'errors.ts': "export * from './cli/a.js';\n", 'cli/a.ts': '' },
      /errors must not import cli/,
    ],
    'a dynamic import against the arrows': [
      { 'errors.ts': "const a = await import('./cli/a.js');\n", 'cli/a.ts': '' },
      /errors must not import cli/,
    ],
    'more than types from a module whose types may be known': [
      {
        'server/rpc/a.ts': "import { b } from '../pipeline/b.js';\n",
        'server/pipeline/b.ts': '',
      },
      /server\/rpc must not import server\/pipeline/,
    ],
    'a package in the wrong module': [
      { 'server/pipeline/a.ts': "import sharp from 'sharp';\n" },
      /sharp is for workers\/decode/,
    ],
    'a part of a package in the wrong module': [
      { 'cli/a.ts': "import x from 'protobufjs/ext/descriptor/index.js';\n" },
      /is for server\/rpc and onnx/,
    ],
    'a package that nobody may use': [
      { 'server/rpc/a.ts': "import 'left-pad';\n" },
      /no module may use the package left-pad/,
    ],
    'a file that is not there': [
      { 'server/rpc/a.ts': "import './b.js';\n" },
      /\.\/b\.js is no file/,
    ],
    'a module without rules': [{ 'shed/a.ts': '' }, /know no module shed/],
    'the environment where it is not read': [
      { 'server/rpc/a.ts': 'const { env } = process.env;\n' },
      /reads process\.env/,
    ],
    'the console': [{ 'server/rpc/a.ts': "console.log('here');\n" }, /uses console/],
  };
  for (const [what, [sources, problem]] of Object.entries(wrong)) {
    test(`find ${what}`, () => {
      const found = problems(sources);
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0] as string, problem);
    });
  }

  const ways: Readonly<Record<string, readonly [path: string, source: string]>> = {
    'an import': ['bench/a.ts', "import { InferenceSession } from 'onnxruntime-node';\n"],
    'an import of types': [
      'src/inference/a.ts',
      "import type { Tensor } from 'onnxruntime-node';\n",
    ],
    'an import for its effect': ['test/a.ts', "import 'onnxruntime-node';\n"],
    'a dynamic import': ['test/a.ts', "const a = await import('onnxruntime-node');\n"],
    require: ['tools/a.mjs', "const a = require('onnxruntime-node');\n"],
    'createRequire at once': [
      'src/a.ts',
      'createRequire(import.meta.url)("onnxruntime-node/dist/index.js");\n',
    ],
    'a Python program': ['tools/a.py', 'import os\nimport onnxruntime\n'],
    'a Python program that is late': [
      'tools/a.py',
      'import os\nfrom onnxruntime import InferenceSession\nos.environ["ORT_DISABLE_TELEMETRY"] = "1"\n',
    ],
  };
  for (const [what, [path, source]] of Object.entries(ways)) {
    test(`find a way past the telemetry: ${what}`, () => {
      assert.equal(onnxruntimeProblems(new Map([[path, source]])).length, 1);
    });
  }

  const outward: Readonly<Record<string, readonly [text: string, support?: string]>> = {
    'a process': ["import { spawn } from 'node:child_process';\n"],
    'a socket': ["import { connect, isIPv4 } from 'node:net';\n"],
    'a server of gRPC': ["import { Server, type ServiceError, status } from '@grpc/grpc-js';\n"],
    'a whole module': ["import * as http2 from 'node:http2';\n"],
    'a dynamic import': ["const { Worker } = await import('node:worker_threads');\n"],
    'what a helper imports': [
      "import { start } from '../support/a.js';\n",
      "import { fork } from 'node:child_process';\n",
    ],
  };
  for (const [what, [text, support = '']] of Object.entries(outward)) {
    test(`find in a unit test ${what}`, () => {
      const sources = { 'unit/a.test.ts': text, 'support/a.ts': support };
      assert.equal(unitTestProblems(new Map(Object.entries(sources))).length, 1);
    });
  }

  test('let a unit test have names and types', () => {
    const text = [
      "import type { ChildProcess } from 'node:child_process';",
      "import { isIPv4, type Socket } from 'node:net';",
      "import { Metadata, type ServiceError, status as grpcStatus } from '@grpc/grpc-js';",
    ].join('\n');
    const sources = {
      'unit/a.test.ts': text,
      'integration/b.test.ts': "import { spawn } from 'node:child_process';\n",
    };
    assert.deepEqual(unitTestProblems(new Map(Object.entries(sources))), []);
  });

  test('know what is no way past it', () => {
    const sources = {
      'src/workers/inference/onnxruntime.ts':
        "createRequire(import.meta.url)('onnxruntime-node');\n",
      'test/a.ts': "resolve('onnxruntime-node/package.json'); // require('onnxruntime-node')\n",
      'tools/a.py': 'import os\n\nos.environ["ORT_DISABLE_TELEMETRY"] = "1"\nimport onnxruntime\n',
    };
    assert.deepEqual(onnxruntimeProblems(new Map(Object.entries(sources))), []);
  });

  test('find a cycle inside a module', () => {
    const sources = {
      'server/rpc/a.ts': "import { b } from './b.js';\n",
      'server/rpc/b.ts': "import { c } from './c.js';\n",
      'server/rpc/c.ts': "import { a } from './a.js';\n",
    };
    assert.deepEqual(problems(sources), [
      'cycle: server/rpc/a.ts → server/rpc/b.ts → server/rpc/c.ts → server/rpc/a.ts',
    ]);
  });
});
