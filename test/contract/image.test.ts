/**
 * What the Dockerfile promises, as far as it shows without building: docs/operate/kubernetes.md
 * says what is seen when it is built.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { environmentName } from '#vitserve/cli/option.js';
import { SERVE_OPTIONS } from '#vitserve/cli/options.js';
import { KNOWN_PROVIDER } from '#vitserve/tools/install-cuda/known-provider.js';
import { temporaryFolder } from '../support/server.js';
import { REPOSITORY, read, readJson } from './repository.js';

interface Instruction {
  readonly name: string;
  readonly text: string;
}

interface Stage {
  readonly name: string;
  readonly base: string;
  readonly instructions: readonly Instruction[];
}

const manifest = readJson<{
  readonly engines: { readonly node: string };
  readonly dependencies: Record<string, string>;
}>('package.json');

const instructions: readonly Instruction[] = read('Dockerfile')
  .replace(/^#.*\n/gm, '')
  .replace(/\\\n\s*/g, '')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => {
    const [, name = '', text = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    assert.notEqual(name, '', `an instruction: ${line}`);
    return { name, text };
  });

const stages: Stage[] = [];
const globalArguments = new Map<string, string>();
for (const instruction of instructions) {
  const { name, text } = instruction;
  const stage = stages.at(-1);
  if (name === 'FROM') {
    const [base = '', as, own = ''] = text.split(' ');
    assert.equal(as, 'AS', text);
    stages.push({ name: own, base, instructions: [] });
  } else if (stage === undefined) {
    const [key = '', value = ''] = text.split('=');
    assert.equal(name, 'ARG', text);
    globalArguments.set(key, value);
  } else (stage.instructions as Instruction[]).push(instruction);
}

function stageNamed(name: string): Stage {
  const found = stages.find((stage) => stage.name === name);
  assert.ok(found, `a stage ${name}`);
  return found;
}

const texts = (stage: Stage, name: string) =>
  stage.instructions.filter((each) => each.name === name).map(({ text }) => text);
const only = (stage: Stage, name: string) => {
  const all = texts(stage, name);
  assert.equal(all.length, 1, `${stage.name} has one ${name}`);
  return all[0] as string;
};

for (const target of ['cuda', 'cpu'] as const) {
  describe(`the image ${target}`, () => {
    const stage = stageNamed(target);

    test('starts the server as process 1: exec form, no shell, no init script', () => {
      assert.deepEqual(JSON.parse(only(stage, 'ENTRYPOINT')), ['node', '/app/dist/main.js']);
      assert.deepEqual(JSON.parse(only(stage, 'CMD')), ['serve']);
    });

    test('runs nothing while it is built, since its base has no shell', () => {
      assert.deepEqual(texts(stage, 'RUN'), []);
    });

    test('is nobody with a number, which Kubernetes can tell from root', () => {
      assert.equal(only(stage, 'USER'), '65532:65532');
    });

    test('leaves probes to Kubernetes and volumes to whoever runs it', () => {
      for (const name of ['HEALTHCHECK', 'VOLUME', 'ADD', 'ONBUILD'])
        assert.deepEqual(texts(stage, name), [], name);
    });

    test('is reached from outside, by options that there are', () => {
      const set = [...only(stage, 'ENV').matchAll(/(\S+?)=(\S+)/g)].map(
        ([, key = '', value = '']) => [key, value] as const,
      );
      const values = new Map(set);
      assert.equal(values.get('VITSERVE_ADDRESS'), '0.0.0.0:50051');
      assert.equal(values.get('VITSERVE_HTTP_ADDRESS'), '0.0.0.0:8080');
      assert.equal(
        values.get('VITSERVE_EXECUTION_PROVIDER'),
        target === 'cuda' ? 'cuda' : undefined,
      );
      assert.equal(values.get('ORT_DISABLE_TELEMETRY'), '1');
      const known = Object.values(SERVE_OPTIONS).map(environmentName);
      for (const [key] of set) if (key.startsWith('VITSERVE_')) assert.ok(known.includes(key), key);
      assert.equal(only(stage, 'EXPOSE'), '50051 8080');
    });

    test('has labels with the version that is built', () => {
      const labels = only(stage, 'LABEL');
      for (const label of ['title', 'description', 'licenses', 'version', 'revision']) {
        assert.match(labels, new RegExp(`org\\.opencontainers\\.image\\.${label}=`));
      }
      assert.ok(
        texts(stage, 'ARG').includes(
          `VERSION=${readJson<{ version: string }>('package.json').version}`,
        ),
      );
    });

    test('has Node.js of its own, the modules and the program', () => {
      const copies = texts(stage, 'COPY');
      assert.ok(copies.includes('--from=node /usr/local/bin/node /usr/local/bin/node'));
      assert.ok(copies.includes('--from=modules /app/node_modules /app/node_modules'));
      assert.ok(copies.includes('--from=app /app /app'));
      for (const copy of copies) assert.match(copy, /^--from=/, 'from stages only');
    });
  });
}

test('without a target, the image for the CPU is built', () => {
  assert.equal(stages.at(-1)?.name, 'cpu');
});

test('every image that is built upon is an argument with a default, named in full', () => {
  const own = stages.map(({ name }) => name);
  for (const { base } of stages) {
    if (base === 'scratch' || own.includes(base)) continue;
    const [, argument = ''] = /^\$\{(\w+)\}$/.exec(base) ?? [];
    assert.match(
      globalArguments.get(argument) ?? '',
      /^[a-z0-9.-]+\.[a-z]+\/[\w./-]+:[\w.-]+$/,
      base,
    );
  }
});

test('no front end is fetched', () => {
  assert.doesNotMatch(read('Dockerfile'), /^#\s*syntax\s*=/im);
});

test('Node.js is the newest line that package.json supports', () => {
  const lines = [...manifest.engines.node.matchAll(/(\d+)\.\d+\.\d+/g)].map(([, major]) =>
    Number(major),
  );
  assert.match(globalArguments.get('NODE_IMAGE') ?? '', new RegExp(`/node:${Math.max(...lines)}-`));
});

test('only what is needed to run is installed, and scripts of packages stay off', () => {
  const [install = ''] = texts(stageNamed('modules'), 'RUN').filter((text) =>
    text.includes('npm ci'),
  );
  assert.match(install, /--omit=dev/);
  for (const name of ['build', 'modules'])
    assert.ok(
      texts(stageNamed(name), 'COPY').some((text) => text.includes('.npmrc')),
      name,
    );
});

describe('what goes into a build', () => {
  const taken = stages.flatMap((stage) =>
    texts(stage, 'COPY')
      .filter((text) => !text.startsWith('--from='))
      .flatMap((text) => text.split(' ').slice(0, -1)),
  );

  test('is there', () => {
    for (const path of taken) assert.ok(existsSync(join(REPOSITORY, path)), path);
  });

  test('is what .dockerignore lets through, and nothing else', () => {
    const lines = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    assert.equal(lines[0], '*');
    const allowed = lines.slice(1).map((line) => line.replace(/^!/, ''));
    assert.deepEqual(allowed.sort(), [...new Set(taken)].sort());
  });

  test('holds all that the program reads from its own folders', () => {
    const app = texts(stageNamed('app'), 'COPY').join('\n');
    // src/main.ts reads package.json, src/contract/contract.ts proto/, src/cli/options.ts models/.
    for (const path of ['package.json', 'LICENSE', '/app/proto', '/app/models', '/app/dist'])
      assert.ok(app.includes(path), path);
    const read = readdirSync(join(REPOSITORY, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .flatMap((path) => {
        const source = readFileSync(join(REPOSITORY, 'src', path), 'utf8');
        const depth = path.split('/').length;
        return [...source.matchAll(/new URL\('((?:\.\.\/)+)([\w.-]+)[^']*', import\.meta\.url\)/g)]
          .filter(([, up = '']) => up.length / 3 === depth)
          .map(([, , name = '']) => name);
      });
    assert.deepEqual([...new Set(read)].sort(), ['models', 'package.json', 'proto']);
  });
});

test('the CUDA provider that is known is that of the onnxruntime that is installed', () => {
  assert.equal(KNOWN_PROVIDER.onnxruntime, manifest.dependencies['onnxruntime-node']);
  assert.ok(KNOWN_PROVIDER.wheel.includes(`-${KNOWN_PROVIDER.onnxruntime}-`));
});

test('pruning leaves what this platform loads, and of others nothing', async (t) => {
  const { pruneModules } = (await import(join(REPOSITORY, 'tools/image/prune-modules.mjs'))) as {
    pruneModules(modules: string, platform: { platform: string; arch: string; libc: string }): void;
  };
  const modules = temporaryFolder(t);
  const put = (path: string) => {
    mkdirSync(dirname(join(modules, path)), { recursive: true });
    writeFileSync(join(modules, path), '');
  };
  const kept = [
    '@julusian/jpeg-turbo/package.json',
    '@julusian/jpeg-turbo/prebuilds/jpeg-turbo-linux-x64/libturbojpeg.so.0',
    'onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1',
    'onnxruntime-node/dist/index.js',
    'onnxruntime-node/package.json',
    'sharp/lib/index.js',
  ];
  const gone = [
    '@julusian/jpeg-turbo/prebuilds/jpeg-turbo-linux-x64-musl/libturbojpeg.so.0',
    '@julusian/jpeg-turbo/prebuilds/jpeg-turbo-win32-x64/jpeg-turbo.node',
    '@julusian/jpeg-turbo/src/a.cc',
    'onnxruntime-node/bin/napi-v6/darwin/arm64/onnxruntime_binding.node',
    'onnxruntime-node/bin/napi-v6/linux/arm64/libonnxruntime.so.1',
    'onnxruntime-node/bin/napi-v6/win32/x64/onnxruntime.dll',
  ];
  for (const path of [...kept, ...gone]) put(path);
  pruneModules(modules, { platform: 'linux', arch: 'x64', libc: 'glibc' });
  const left = readdirSync(modules, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  assert.deepEqual(
    left.map((entry) => join(entry.parentPath, entry.name).slice(modules.length + 1)).sort(),
    kept,
  );
});
