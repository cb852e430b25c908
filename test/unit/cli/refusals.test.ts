/** What the loader rejects, in its exact words: every problem, one line each, all at once. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadServeSettings } from '#vitserve/cli/load.js';
import { NO_FILES, problems, withFile } from './surroundings.js';

const serve = (...argv: string[]) => loadServeSettings(argv, {}, NO_FILES).settings;
const serveProblems = (...argv: string[]) => problems(() => loadServeSettings(argv, {}, NO_FILES));

describe('serve rejects', () => {
  test('all problems of all sources at once', () => {
    const load = () =>
      loadServeSettings(
        [
          '--permit=4',
          '--log-level',
          'loud',
          '--config',
          'vitserve.json',
          'model.onnx',
          '--address',
        ],
        { VITSERVE_PERMIT: '4', VITSERVE_MAX_BATCH_SIZE: 'many', SECRET: 'hidden' },
        withFile({
          'max-batchsize': 4,
          permits: 0,
          'upload-timeout': 10,
          reflection: 'no',
          'default-model': ['a'],
          config: 'b',
        }),
      );
    assert.deepEqual(problems(load), [
      'unknown flag --permit: did you mean --permits?',
      'unexpected argument "model.onnx": vitserve serve takes flags only',
      '--address needs a value: give HOST:PORT with a port from 0 to 65535, an IPv6 host in brackets, such as ' +
        '127.0.0.1:50051 or [::1]:50051',
      'unknown variable VITSERVE_PERMIT: did you mean VITSERVE_PERMITS?',
      'unknown option max-batchsize in vitserve.json: did you mean max-batch-size?',
      "config in vitserve.json: a config file can't name another one",
      '--log-level: invalid value "loud": give trace, debug, info, warn, error or fatal',
      'VITSERVE_MAX_BATCH_SIZE: invalid value "many": give auto or a whole number from 1 to 1024',
      'permits in vitserve.json: invalid value 0: give auto or a whole number from 1 to 65536',
      'upload-timeout in vitserve.json: invalid value 10: give a duration from 1ms to 24h, such as 250ms, 5s or 2m',
      'reflection in vitserve.json: invalid value "no": give true or false',
      'default-model in vitserve.json: invalid value ["a"]: give a model\'s name',
    ]);
  });

  test('unknown flags, with the nearest known one', () => {
    assert.deepEqual(
      serveProblems(
        '--prot=1',
        '--xyzzy',
        '--model-repositry',
        'm',
        '--no-reflecton',
        '--drian-delay=5s',
      ),
      [
        'unknown flag --prot: see vitserve serve --help',
        'unknown flag --xyzzy: see vitserve serve --help',
        'unknown flag --model-repositry: did you mean --model-repository?',
        'unknown flag --no-reflecton: did you mean --no-reflection?',
        'unknown flag --drian-delay: did you mean --drain-delay?',
      ],
    );
    assert.deepEqual(serveProblems('--__proto__=1', '--top-k=1'), [
      'unknown flag --__proto__: see vitserve serve --help',
      'unknown flag --top-k: see vitserve serve --help',
    ]);
    assert.deepEqual(serveProblems('-permits=4', '-x', '--', '-y'), [
      'unexpected argument "-y": vitserve serve takes flags only',
      'unknown flag -permits: did you mean --permits?',
      'unknown flag -x: see vitserve serve --help',
    ]);
  });

  test('flags without the value they need, or with one they do not take', () => {
    assert.deepEqual(
      serveProblems('--permits', '--reflection', 'false', '--no-permits', '--no-reflection=yes'),
      [
        '--permits needs a value, not --reflection: give auto or a whole number from 1 to 65536',
        'unknown flag --no-permits: --permits takes a value',
        '--no-reflection takes no value: write --no-reflection or --reflection=true',
      ],
    );
    assert.deepEqual(serveProblems('--reflection', 'false'), [
      '--reflection false: write --reflection=false',
    ]);
    assert.deepEqual(serveProblems('--permits='), [
      '--permits: invalid value "": give auto or a whole number from 1 to 65536',
    ]);
  });

  test('a flag given twice with different values', () => {
    assert.deepEqual(
      serveProblems('--permits=4', '--permits', '5', '--reflection', '--no-reflection'),
      [
        '--permits is given twice, as "4" and as "5": give it once',
        '--reflection is given twice, as "true" and as "false": give it once',
      ],
    );
  });

  test('a value that a stronger source overrides', () => {
    assert.deepEqual(
      problems(() => loadServeSettings(['--permits=4'], { VITSERVE_PERMITS: 'x' }, NO_FILES)),
      ['VITSERVE_PERMITS: invalid value "x": give auto or a whole number from 1 to 65536'],
    );
  });

  test('config files that are missing or malformed', () => {
    assert.deepEqual(serveProblems('--config=etc/a.json'), [
      "--config: can't read etc/a.json: ENOENT: no such file or directory, open '/srv/etc/a.json'",
    ]);
    assert.deepEqual(serveProblems('--config='), ['--config: invalid value "": give a path']);
    const load = (content: string) =>
      problems(() => loadServeSettings([], { VITSERVE_CONFIG: 'a.json' }, withFile(content)));
    assert.deepEqual(load('[1]'), ['VITSERVE_CONFIG: a.json must hold a JSON object, not [1]']);
    assert.deepEqual(load('null'), ['VITSERVE_CONFIG: a.json must hold a JSON object, not null']);
    assert.match(
      load('{\n  permits: 4\n}').join('|'),
      /^VITSERVE_CONFIG: a\.json is not JSON: [^|]+$/,
    );
    assert.deepEqual(load('{"__proto__": 1, "a\\nb": 2}'), [
      'unknown option __proto__ in a.json: see vitserve serve --help',
      'unknown option "a\\nb" in a.json: see vitserve serve --help',
    ]);
  });

  test('one port for both listeners', () => {
    assert.deepEqual(serveProblems('--address=[::1]:9', '--http-address=[::1]:9'), [
      'address [::1]:9 and http-address [::1]:9 use the same port: give gRPC and HTTP one each',
    ]);
    assert.equal(serveProblems('--address=127.0.0.1:8080').length, 1);
    assert.equal(serveProblems('--address=0.0.0.0:8080').length, 1);
    assert.equal(serveProblems('--http-address=[::]:50051').length, 1);
    serve('--address=127.0.0.1:0', '--http-address=127.0.0.1:0');
    serve('--address=127.0.0.1:9', '--http-address=127.0.0.2:9');
    serve('--address=0.0.0.0:9', '--http-address=[::1]:9');
    // What can't be read is reported as such, and nothing is concluded from it.
    assert.equal(serveProblems('--address=x', '--http-address=127.0.0.1:50051').length, 1);
  });

  test('a port of health that is another one’s, and halves of what belongs together', () => {
    const taken = 'uses the port of address or http-address: give it its own';
    assert.deepEqual(serveProblems('--address=0.0.0.0:9', '--health-address=127.0.0.1:9'), [
      `health-address 127.0.0.1:9 ${taken}`,
    ]);
    assert.deepEqual(serveProblems('--health-address=127.0.0.1:8080'), [
      `health-address 127.0.0.1:8080 ${taken}`,
    ]);
    serve('--health-address=127.0.0.1:0');
    assert.deepEqual(serveProblems('--tls-cert=a'), ['tls-cert needs its key: give tls-key too']);
    assert.deepEqual(serveProblems('--tls-key=a'), [
      'tls-key needs its certificate: give tls-cert too',
    ]);
    assert.deepEqual(serveProblems('--tls-client-ca=a'), [
      'tls-client-ca needs TLS: give tls-cert and tls-key too',
    ]);
    assert.equal(serve('--tls-cert=a', '--tls-key=b', '--tls-client-ca=c').tlsClientCa, '/srv/c');
  });

  test('a given value is shown on one line and shortened', () => {
    const [problem] = serveProblems(`--log-level=${'x\n'.repeat(500)}`);
    assert.ok(problem !== undefined && problem.length < 200, problem);
  });
});
