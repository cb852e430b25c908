/**
 * What is installed: exact versions, no scripts, no hosts, and a lockfile that `npm ci` accepts on
 * every platform.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { listSupportedBackends } from '#vitserve/workers/inference/onnxruntime.js';
import { REPOSITORY, read, readJson } from './repository.js';

interface Package {
  readonly engines: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

interface LockedPackage {
  readonly name?: string;
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const manifest = readJson<Package>('package.json');
const lock = readJson<{ readonly packages: Readonly<Record<string, LockedPackage>> }>(
  'package-lock.json',
).packages;

/**
 * Packages that bring an install script, and why nobody misses it (.npmrc turns scripts off): the
 * whole test suite runs on what was installed without them.
 */
const UNUSED_INSTALL_SCRIPTS = [
  // Builds a binding that is not used: the prebuilt library in the package is.
  '@julusian/jpeg-turbo',
  // Builds from source where there is no prebuilt binary, which comes as a package of its own.
  'koffi',
  // Fetches CUDA libraries from outside the registry; the CPU provider comes in the package.
  'onnxruntime-node',
  // Warns of versions that it believes not to fit.
  'protobufjs',
];

describe('package.json', () => {
  test('asks for exact versions', () => {
    for (const [name, version] of Object.entries({
      ...manifest.dependencies,
      ...manifest.devDependencies,
    })) {
      assert.match(version, /^\d+\.\d+\.\d+$/, name);
    }
  });

  test('has the packages that the server is built on', () => {
    for (const name of ['@grpc/grpc-js', 'onnxruntime-node', 'sharp'])
      assert.ok(name in manifest.dependencies, name);
  });

  test('names the Node versions that are supported, and the types are those of the oldest', () => {
    assert.equal(manifest.engines.node, '^20.19.0 || ^22.12.0 || >=24.0.0');
    assert.match(manifest.devDependencies['@types/node'] ?? '', /^20\./);
  });
});

describe('.npmrc', () => {
  test('turns install scripts off and keeps hosts out of the lockfile', () => {
    assert.deepEqual(read('.npmrc').trim().split('\n').sort(), [
      'ignore-scripts=true',
      'omit-lockfile-registry-resolved=true',
    ]);
  });
});

describe('package-lock.json', () => {
  test('has the versions that package.json asks for', () => {
    const root = lock[''] as Package;
    assert.deepEqual(root.dependencies, manifest.dependencies);
    assert.deepEqual(root.devDependencies, manifest.devDependencies);
    for (const [name, version] of Object.entries({
      ...manifest.dependencies,
      ...manifest.devDependencies,
    })) {
      assert.equal(lock[`node_modules/${name}`]?.version, version, name);
    }
  });

  /**
   * Biome's binaries for other platforms than the usual Linux: a registry that lacked them wrote
   * the lockfile. They are for development alone; npm installs them there without comparing.
   */
  const UNCOMPARED = /^node_modules\/@biomejs\/cli-(android|darwin|win32|linux-(arm64|x64)-musl)/;

  test('says of every package what it has to be, byte for byte', () => {
    const uncompared = Object.entries(lock).filter(
      ([path, { integrity }]) => path !== '' && integrity === undefined,
    );
    for (const [path, { dev }] of uncompared) assert(UNCOMPARED.test(path) && dev === true, path);
  });

  test('names no host to install from', () => {
    for (const [path, { resolved }] of Object.entries(lock))
      assert.equal(resolved, undefined, path);
  });

  test('has every package that another one asks for, those of other platforms too', () => {
    for (const [path, { dependencies, optionalDependencies }] of Object.entries(lock)) {
      for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
        assert.ok(
          isLocked(path, name),
          `${name}, which ${path === '' ? 'the project' : path} asks for`,
        );
      }
    }
  });

  test('has no install script that is not known to be unnecessary', () => {
    const scripted = Object.entries(lock).filter(
      ([, { hasInstallScript }]) => hasInstallScript === true,
    );
    assert.deepEqual(
      scripted.map(([path]) => path.replace(/^.*node_modules\//, '')),
      UNUSED_INSTALL_SCRIPTS,
    );
  });
});

describe('what install scripts would have made', () => {
  const require = createRequire(import.meta.url);

  test('is there without them', () => {
    assert.equal(typeof require('koffi').load, 'function', 'koffi loads its binary');
    assert.deepEqual(listSupportedBackends()[0]?.name, 'cpu', 'onnxruntime loads its binary');
    const { arch } = process;
    const prebuilt = `node_modules/@julusian/jpeg-turbo/prebuilds/jpeg-turbo-linux-${arch}/libturbojpeg.so.0`;
    assert(
      process.platform !== 'linux' ||
        !['x64', 'arm64'].includes(arch) ||
        existsSync(join(REPOSITORY, prebuilt)),
    );
  });
});

describe('npm run sbom', () => {
  test('lists every package, and which are for development, without a network', () => {
    const options = { cwd: REPOSITORY, encoding: 'utf8', maxBuffer: 64 * 2 ** 20 } as const;
    const { status, stdout, stderr } = spawnSync(
      'npm',
      ['run', '-s', 'sbom', '--offline'],
      options,
    );
    assert.equal(status, 0, stderr);
    const { bomFormat, components } = JSON.parse(stdout) as {
      bomFormat: string;
      components: { purl: string; properties?: { name: string; value: string }[] }[];
    };
    assert.equal(bomFormat, 'CycloneDX');
    const forDevelopment = new Map(
      components.map(({ purl, properties = [] }) => [
        decodeURIComponent(purl),
        properties.some(({ name }) => name === 'cdx:npm:package:development'),
      ]),
    );
    for (const [path, { version, dev = false, name }] of Object.entries(lock)) {
      // The stand-ins without content are all the same package.
      if (path === '' || name !== undefined) continue;
      assert.equal(
        forDevelopment.get(`pkg:npm/${path.replace(/^.*node_modules\//, '')}@${version}`),
        dev,
        path,
      );
    }
  });
});

describe('the package that carries libturbojpeg', () => {
  test('brings nothing of what only a build from source needs', () => {
    const { dependencies = {} } = lock['node_modules/@julusian/jpeg-turbo'] ?? {};
    for (const name of Object.keys(dependencies)) {
      const { name: alias, dependencies: more } = (lock[`node_modules/${name}`] ??
        {}) as LockedPackage & {
        name?: string;
      };
      assert.deepEqual([alias, more], ['empty-npm-package', undefined], name);
    }
  });
});

/** Whether Node would find `name` from `path`: in its own node_modules or in one further up. */
function isLocked(path: string, name: string): boolean {
  for (
    let folder = path;
    ;
    folder = folder.slice(0, Math.max(folder.lastIndexOf('/node_modules/'), 0))
  ) {
    if (`${folder === '' ? '' : `${folder}/`}node_modules/${name}` in lock) return true;
    if (folder === '') return false;
  }
}
