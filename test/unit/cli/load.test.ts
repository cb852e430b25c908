/** Settings from their three sources: defaults, precedence, files. */

import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadClassifySettings, loadServeSettings } from '#vitserve/cli/load.js';
import { NO_FILES, problems, withFile } from './surroundings.js';

const serve = (...argv: string[]) => loadServeSettings(argv, {}, NO_FILES).settings;

describe('serve settings', () => {
  test('defaults', () => {
    const { settings, sources, changes } = loadServeSettings([], {}, NO_FILES);
    assert.deepEqual(settings, {
      config: null,
      address: { host: '127.0.0.1', port: 50_051 },
      httpAddress: { host: '127.0.0.1', port: 8080 },
      reflection: true,
      tlsCert: null,
      tlsKey: null,
      tlsClientCa: null,
      tokenFile: null,
      healthAddress: null,
      modelRepository: fileURLToPath(new URL('../../../models', import.meta.url)),
      defaultModel: '',
      allowRandomWeights: false,
      executionProvider: { kind: 'auto' },
      inferenceProcesses: 'auto',
      inferenceThreads: 'auto',
      decoderProcesses: 'auto',
      jpegDecoder: 'auto',
      sharedMemoryDir: '/dev/shm',
      maxBatchSize: 'auto',
      permits: 'auto',
      uploadTimeoutMs: 10_000,
      maxConnections: 1024,
      maxConnectionAgeMs: 3_600_000,
      maxImageBytes: 16_777_216,
      maxImagePixels: 50_000_000,
      inferenceTimeoutMs: 60_000,
      startTimeoutMs: 60_000,
      drainDelayMs: 0,
      drainTimeoutMs: 30_000,
      logLevel: 'info',
      logFormat: 'auto',
      logSample: 0,
      modelsPollIntervalMs: 0,
    });
    assert.deepEqual(new Set(Object.values(sources)), new Set(['default']));
    assert.deepEqual(changes, []);
  });

  test('a flag overrides the environment, the environment the file, the file the default', () => {
    const { settings, sources, changes } = loadServeSettings(
      ['--config', 'etc/vitserve.json', '--permits', '3'],
      { VITSERVE_PERMITS: '2', VITSERVE_MAX_CONNECTIONS: '20', PERMITS: '9' },
      withFile({ permits: 1, 'max-connections': 10, 'drain-delay': '5s', 'default-model': null }),
    );
    assert.equal(settings.permits, 3);
    assert.equal(settings.maxConnections, 20);
    assert.equal(settings.drainDelayMs, 5_000);
    assert.equal(settings.config, '/srv/etc/vitserve.json');
    assert.equal(sources.permits, 'flag');
    assert.equal(sources.maxConnections, 'environment');
    assert.equal(sources.drainDelayMs, 'file');
    assert.equal(sources.defaultModel, 'default');
    assert.deepEqual(changes, [
      { name: 'config', value: '/srv/etc/vitserve.json', source: 'flag' },
      { name: 'permits', value: '3', source: 'flag' },
      { name: 'max-connections', value: '20', source: 'environment' },
      { name: 'drain-delay', value: '5s', source: 'file' },
    ]);
  });

  test('flags: two spellings of a value, four of a yes or no, and the same one twice', () => {
    assert.equal(serve('--log-level', 'debug').logLevel, 'debug');
    assert.equal(serve('--log-level=debug').logLevel, 'debug');
    assert.equal(serve('--default-model=').defaultModel, '');
    assert.equal(serve('--reflection').reflection, true);
    assert.equal(serve('--no-reflection').reflection, false);
    assert.equal(serve('--reflection=true').reflection, true);
    assert.equal(serve('--reflection=false').reflection, false);
    assert.equal(serve('--permits', '4', '--permits=4').permits, 4);
  });

  test('paths are resolved against the working directory, the default models folder is not', () => {
    assert.equal(serve('--model-repository', 'mine').modelRepository, '/srv/mine');
    assert.equal(serve('--model-repository', '/opt/models').modelRepository, '/opt/models');
    assert.equal(
      loadServeSettings([], { VITSERVE_SHARED_MEMORY_DIR: 'shm' }, NO_FILES).settings
        .sharedMemoryDir,
      '/srv/shm',
    );
    assert.equal(
      loadServeSettings([], {}).settings.modelRepository,
      resolve(import.meta.dirname, '../../../models'),
    );
  });

  test('an empty variable counts as unset', () => {
    const { settings, sources } = loadServeSettings(
      [],
      { VITSERVE_PERMITS: '', VITSERVE_TYPO: '' },
      NO_FILES,
    );
    assert.equal(settings.permits, 'auto');
    assert.equal(sources.permits, 'default');
  });

  test('the variables that Kubernetes adds for a Service called vitserve are ignored', () => {
    const links = {
      VITSERVE_SERVICE_HOST: '10.0.0.1',
      VITSERVE_SERVICE_PORT: '50051',
      VITSERVE_SERVICE_PORT_GRPC: '50051',
      VITSERVE_PORT: 'tcp://10.0.0.1:50051',
      VITSERVE_PORT_50051_TCP: 'tcp://10.0.0.1:50051',
      VITSERVE_PORT_50051_TCP_PROTO: 'tcp',
      VITSERVE_PORT_50051_TCP_PORT: '50051',
      VITSERVE_PORT_50051_TCP_ADDR: '10.0.0.1',
      VITSERVE_HTTP_SERVICE_HOST: '10.0.0.2',
      VITSERVE_HTTP_PORT: 'tcp://10.0.0.2:8080',
    };
    assert.deepEqual(loadServeSettings([], links, NO_FILES).changes, []);
    assert.deepEqual(
      problems(() => loadServeSettings([], { VITSERVE_PORT: '50051' }, NO_FILES)),
      ['unknown variable VITSERVE_PORT: see vitserve serve --help'],
    );
  });

  test('a config file takes JSON values or the text of a flag', () => {
    const costs = [
      { batchSize: 1, milliseconds: 1 },
      { batchSize: 8, milliseconds: 2.2 },
    ];
    for (const content of [
      {
        reflection: false,
        permits: 5,
        'max-image-bytes': 1024,
        'execution-provider': 'simulated:1:1,8:2.2',
      },
      {
        reflection: 'false',
        permits: '5',
        'max-image-bytes': '1KiB',
        'execution-provider': 'simulated:1:1.0,8:2.2',
      },
    ]) {
      const { settings } = loadServeSettings([], { VITSERVE_CONFIG: 'a.json' }, withFile(content));
      assert.equal(settings.reflection, false);
      assert.equal(settings.permits, 5);
      assert.equal(settings.maxImageBytes, 1024);
      assert.deepEqual(settings.executionProvider, { kind: 'simulated', costs });
    }
    const marked = withFile('\uFEFF{"permits": 5}');
    assert.equal(loadServeSettings(['--config=a.json'], {}, marked).settings.permits, 5);
  });
});

describe('classify settings', () => {
  const classify = (argv: string[], env = {}) => loadClassifySettings(argv, env, NO_FILES);

  test('defaults, and files in their order', () => {
    const { settings, files } = classify(['b.jpg', 'a.png']);
    assert.deepEqual(settings, {
      address: { host: '127.0.0.1', port: 50_051 },
      tlsCa: null,
      tlsCert: null,
      tlsKey: null,
      tokenFile: null,
      model: '',
      topK: 5,
      timeoutMs: 30_000,
      concurrency: 8,
      json: false,
    });
    assert.deepEqual(files, ['b.jpg', 'a.png']);
  });

  test('flags and files may be mixed; after -- everything is a file', () => {
    const { settings, files } = classify(
      ['--json', 'a.jpg', '--top-k', '0', 'b.jpg', '--', '--json'],
      {
        VITSERVE_TIMEOUT: '1s',
      },
    );
    assert.deepEqual([settings.json, settings.topK, settings.timeoutMs], [true, 0, 1_000]);
    assert.deepEqual(files, ['a.jpg', 'b.jpg', '--json']);
  });

  test('variables of serve are known to it, and only its own are read', () => {
    const env = {
      VITSERVE_PERMITS: 'whatever',
      VITSERVE_CONFIG: 'absent.json',
      VITSERVE_ADDRESS: 'vit:1',
    };
    assert.deepEqual(classify(['a.jpg'], env).settings.address, { host: 'vit', port: 1 });
  });

  test('rejections', () => {
    assert.deepEqual(
      problems(() => classify(['--config=a.json', '--concurrency=0', '--address', 'localhost:0'])),
      [
        'unknown flag --config: see vitserve classify --help',
        '--concurrency: invalid value "0": give a whole number from 1 to 256',
        '--address: invalid value "localhost:0": give HOST:PORT with a port from 1 to 65535, an IPv6 host in ' +
          'brackets, such as 127.0.0.1:50051 or [::1]:50051',
        'give at least one FILE: vitserve classify photo.jpg',
      ],
    );
    assert.deepEqual(
      problems(() => classify(['--json', 'true', 'a.jpg'])),
      ['--json true: write --json=true'],
    );
  });
});
