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
        { VITSERVE_PERMIT: '4', VITSERVE_MAX_UPLOADS: 'many', SECRET: 'hidden' },
        withFile({
          'max-batchsize': 4,
          permits: 0,
          'decode-timeout': 10,
          reflection: 'no',
          model: ['a'],
          config: 'b',
        }),
      );
    assert.deepEqual(problems(load), [
      '--permit is not a flag of vitserve serve; did you mean --permits?',
      '"model.onnx" is not a flag, and vitserve serve takes nothing else',
      '--address needs a value: give HOST:PORT with a port from 0 to 65535, an IPv6 host in brackets, such as ' +
        '127.0.0.1:50051 or [::1]:50051',
      'VITSERVE_PERMIT is not a variable that vitserve knows; did you mean VITSERVE_PERMITS?',
      'max-batchsize in vitserve.json is not an option; did you mean max-batch-size?',
      "config in vitserve.json: a config file can't name another",
      '--log-level: "loud" is not accepted; give trace, debug, info, warn, error or fatal',
      'VITSERVE_MAX_UPLOADS: "many" is not accepted; give auto or a whole number from 1 to 65536',
      'permits in vitserve.json: 0 is not accepted; give auto or a whole number from 1 to 65536',
      'decode-timeout in vitserve.json: 10 is not accepted; give a duration from 1ms to 24h, such as 250ms, 5s or 2m',
      'reflection in vitserve.json: "no" is not accepted; give true or false',
      'model in vitserve.json: ["a"] is not accepted; give a model\'s name',
    ]);
  });

  test('unknown flags, with the nearest known one', () => {
    assert.deepEqual(
      serveProblems('--prot=1', '--xyzzy', '--modles', 'm', '--no-reflecton', '--drian-delay=5s'),
      [
        '--prot is not a flag of vitserve serve; see vitserve serve --help',
        '--xyzzy is not a flag of vitserve serve; see vitserve serve --help',
        '--modles is not a flag of vitserve serve; did you mean --models?',
        '--no-reflecton is not a flag of vitserve serve; did you mean --no-reflection?',
        '--drian-delay is not a flag of vitserve serve; did you mean --drain-delay?',
      ],
    );
    assert.deepEqual(serveProblems('--__proto__=1', '--top-k=1'), [
      '--__proto__ is not a flag of vitserve serve; see vitserve serve --help',
      '--top-k is not a flag of vitserve serve; see vitserve serve --help',
    ]);
    assert.deepEqual(serveProblems('-permits=4', '-x', '--', '-y'), [
      '"-y" is not a flag, and vitserve serve takes nothing else',
      '-permits is not a flag of vitserve serve; did you mean --permits?',
      '-x is not a flag of vitserve serve; see vitserve serve --help',
    ]);
  });

  test('flags without the value they need, or with one they do not take', () => {
    assert.deepEqual(
      serveProblems('--permits', '--reflection', 'false', '--no-permits', '--no-reflection=yes'),
      [
        '--permits needs a value, but --reflection follows: give auto or a whole number from 1 to 65536',
        '--no-permits is not a flag: --permits is not a yes or no',
        '--no-reflection takes no value: write --no-reflection or --reflection=true',
      ],
    );
    assert.deepEqual(serveProblems('--reflection', 'false'), [
      '--reflection false: write --reflection=false',
    ]);
    assert.deepEqual(serveProblems('--permits='), [
      '--permits: "" is not accepted; give auto or a whole number from 1 to 65536',
    ]);
  });

  test('a flag given twice with different values', () => {
    assert.deepEqual(
      serveProblems('--permits=4', '--permits', '5', '--reflection', '--no-reflection'),
      [
        '--permits is given more than once, as "4" and as "5"; give it once',
        '--reflection is given more than once, as "true" and as "false"; give it once',
      ],
    );
  });

  test('a value that a stronger source overrides', () => {
    assert.deepEqual(
      problems(() => loadServeSettings(['--permits=4'], { VITSERVE_PERMITS: 'x' }, NO_FILES)),
      ['VITSERVE_PERMITS: "x" is not accepted; give auto or a whole number from 1 to 65536'],
    );
  });

  test('config files that are missing or malformed', () => {
    assert.deepEqual(serveProblems('--config=etc/a.json'), [
      "--config: etc/a.json can't be read: ENOENT: no such file or directory, open '/srv/etc/a.json'",
    ]);
    assert.deepEqual(serveProblems('--config='), ['--config: "" is not accepted; give a path']);
    const load = (content: string) =>
      problems(() => loadServeSettings([], { VITSERVE_CONFIG: 'a.json' }, withFile(content)));
    assert.deepEqual(load('[1]'), ['VITSERVE_CONFIG: a.json must hold a JSON object, not [1]']);
    assert.deepEqual(load('null'), ['VITSERVE_CONFIG: a.json must hold a JSON object, not null']);
    assert.match(
      load('{\n  permits: 4\n}').join('|'),
      /^VITSERVE_CONFIG: a\.json is not JSON: [^|]+$/,
    );
    assert.deepEqual(load('{"__proto__": 1, "a\\nb": 2}'), [
      '__proto__ in a.json is not an option; see vitserve serve --help',
      '"a\\nb" in a.json is not an option; see vitserve serve --help',
    ]);
  });

  test('settings that contradict each other', () => {
    assert.deepEqual(
      serveProblems(
        '--simulated-inference=1:1,8:2',
        '--execution-provider=cuda',
        '--max-batch-size=9',
        '--inference-timeout=2ms',
      ),
      [
        "simulated-inference runs no model, so execution-provider cuda can't be met: leave one of them out",
        'max-batch-size 9 is above 8, the largest batch that simulated-inference has a time for',
        'simulated-inference takes 2ms for a batch of 8, and inference-timeout ends executions after 2ms',
      ],
    );
    serve('--simulated-inference=1:1,8:2', '--execution-provider=auto', '--max-batch-size=8');
    assert.deepEqual(
      serveProblems('--simulated-inference=1:1,8:2', '--batch-sizes=1,16', '--max-batch-size=8'),
      [
        'max-batch-size 8 is not the largest of batch-sizes, 16: leave it out',
        'batch-sizes go up to 16, and 8 is the largest batch that simulated-inference has a time for',
      ],
    );
    serve('--simulated-inference=1:1,8:2', '--batch-sizes=1,8', '--max-batch-size=8');
    // An unreadable value is reported as such, and no rule is applied to it.
    assert.equal(serveProblems('--simulated-inference=1:1,8:2', '--max-batch-size=9999').length, 1);
  });

  test('one port for both listeners', () => {
    assert.deepEqual(serveProblems('--address=[::1]:9', '--http-address=[::1]:9'), [
      'address [::1]:9 and http-address [::1]:9 take the same port: gRPC and HTTP need one each',
    ]);
    assert.equal(serveProblems('--address=127.0.0.1:8080').length, 1);
    assert.equal(serveProblems('--address=0.0.0.0:8080').length, 1);
    assert.equal(serveProblems('--http-address=[::]:50051').length, 1);
    serve('--address=127.0.0.1:0', '--http-address=127.0.0.1:0');
    serve('--address=127.0.0.1:9', '--http-address=127.0.0.2:9');
    serve('--address=0.0.0.0:9', '--http-address=[::1]:9');
  });

  test('a health port that another listener has, and halves of a pair', () => {
    const taken = 'takes the port of address or http-address: it needs one of its own';
    assert.deepEqual(serveProblems('--address=0.0.0.0:9', '--health-address=127.0.0.1:9'), [
      `health-address 127.0.0.1:9 ${taken}`,
    ]);
    assert.deepEqual(serveProblems('--health-address=127.0.0.1:8080'), [
      `health-address 127.0.0.1:8080 ${taken}`,
    ]);
    serve('--health-address=127.0.0.1:0');
    assert.deepEqual(serveProblems('--tls-cert=a'), ['tls-cert needs its key: give tls-key too']);
    assert.deepEqual(serveProblems('--tls-key=a'), [
      'tls-key is of no use without tls-cert: give both',
    ]);
    assert.deepEqual(serveProblems('--tls-client-ca=a'), [
      'tls-client-ca asks callers for certificates, which only TLS can: give tls-cert and tls-key too',
    ]);
    assert.equal(serve('--tls-cert=a', '--tls-key=b', '--tls-client-ca=c').tlsClientCa, '/srv/c');
  });

  test('a given value is shown on one line and shortened', () => {
    const [problem] = serveProblems(`--log-level=${'x\n'.repeat(500)}`);
    assert.ok(problem !== undefined && problem.length < 200, problem);
  });
});
