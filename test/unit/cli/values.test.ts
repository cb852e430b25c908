/** Every type of option: what it reads and rejects, and that it reads what it writes. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  address,
  autoOr,
  boolean,
  bytes,
  choice,
  duration,
  executionProvider,
  integer,
  integers,
  path,
  string,
  type ValueType,
} from '#vitserve/cli/value-types.js';

interface Case<Value> {
  readonly type: ValueType<Value>;
  readonly accepts: Readonly<Record<string, Value>>;
  readonly refuses: readonly string[];
}

function check<Value>(name: string, { type, accepts, refuses }: Case<Value>): void {
  test(name, () => {
    for (const [text, value] of Object.entries(accepts)) {
      assert.deepEqual(type.parse(text), value, `${name} ${JSON.stringify(text)}`);
      assert.deepEqual(
        type.parse(type.format(value)),
        value,
        `${name} ${JSON.stringify(text)} written and read again`,
      );
    }
    for (const text of refuses)
      assert.equal(type.parse(text), undefined, `${name} ${JSON.stringify(text)}`);
  });
}

describe('values', () => {
  check('string', {
    type: string('NAME', 'a name'),
    accepts: { '': '', 'vit-b': 'vit-b' },
    refuses: [],
  });
  check('path', {
    type: path(),
    accepts: { models: 'models', '../a b': '../a b' },
    refuses: ['', 'a\0b'],
  });
  check('boolean', {
    type: boolean(),
    accepts: { true: true, false: false },
    refuses: ['', '1', '0', 'yes', 'TRUE', ' true'],
  });
  check('integer', {
    type: integer(1, 256),
    accepts: { '1': 1, '007': 7, '256': 256 },
    refuses: [
      '',
      '0',
      '257',
      '-1',
      '+1',
      '1.5',
      '1e2',
      '0x10',
      ' 1',
      '1 ',
      'auto',
      'NaN',
      '9'.repeat(400),
    ],
  });
  check('integer or auto', {
    type: autoOr(integer(1, 256)),
    accepts: { auto: 'auto', '8': 8 },
    refuses: ['', 'Auto', 'AUTO', '0'],
  });
  check('integers', {
    type: integers(1, 64),
    accepts: { '7': [7], '1,8,32': [1, 8, 32], '8,1,8': [8, 1, 8] },
    refuses: ['', ',', '1,', ',1', '1,,2', '0,1', '1,65', '1, 2', '1-3', 'auto'],
  });
  check('choice', {
    type: choice('auto', 'cpu', 'cuda'),
    accepts: { auto: 'auto', cpu: 'cpu', cuda: 'cuda' },
    refuses: ['', 'CPU', 'gpu', 'toString'],
  });
  check('duration', {
    type: duration(),
    accepts: { '250ms': 250, '5s': 5_000, '2m': 120_000, '24h': 86_400_000, '1ms': 1 },
    refuses: ['', '0s', '5', '5 s', '1.5s', '-5s', '5S', 's', '25h', '86400001ms', '5s5s', '1d'],
  });
  check('duration that may be none', {
    type: duration(0),
    accepts: { '0s': 0, '0ms': 0 },
    refuses: ['0'],
  });
  check('bytes', {
    type: bytes(1, 2 ** 30),
    accepts: {
      '1': 1,
      '500000': 500_000,
      '512KiB': 524_288,
      '16MiB': 16_777_216,
      '1GiB': 1_073_741_824,
    },
    refuses: [
      '',
      '0',
      '0MiB',
      '16MB',
      '16 MiB',
      '16mib',
      '1.5MiB',
      '2GiB',
      '1073741825',
      '-1',
      '1e6',
      'MiB',
    ],
  });
  check('address to listen on', {
    type: address(0),
    accepts: {
      '127.0.0.1:50051': { host: '127.0.0.1', port: 50_051 },
      '0.0.0.0:0': { host: '0.0.0.0', port: 0 },
      'vitserve.prod.svc:65535': { host: 'vitserve.prod.svc', port: 65_535 },
      '[::1]:50051': { host: '::1', port: 50_051 },
      '[::]:8080': { host: '::', port: 8080 },
    },
    refuses: [
      '',
      '50051',
      ':50051',
      'localhost',
      'localhost:',
      'localhost:65536',
      'localhost:-1',
      'localhost:http',
      '::1:50051',
      '[::1]',
      '[127.0.0.1]:50051',
      '[::1]:50051:1',
      '1.2.3:50051',
      '256.0.0.1:50051',
      'http://localhost:50051',
      'a b:50051',
    ],
  });
  check('address to connect to', {
    type: address(1),
    accepts: { 'localhost:1': { host: 'localhost', port: 1 } },
    refuses: ['localhost:0'],
  });
  const simulated = (...rows: readonly (readonly [number, number])[]) => ({
    kind: 'simulated' as const,
    costs: rows.map(([batchSize, milliseconds]) => ({ batchSize, milliseconds })),
  });
  check('execution provider', {
    type: executionProvider(),
    accepts: {
      auto: { kind: 'auto' },
      cpu: { kind: 'cpu' },
      cuda: { kind: 'cuda' },
      'simulated:1:1': simulated([1, 1]),
      'simulated:1:1.0,8:2.2,32:6.5': simulated([1, 1], [8, 2.2], [32, 6.5]),
      'simulated:1:0.000001,1024:9999999': simulated([1, 0.000001], [1024, 9_999_999]),
    },
    refuses: [
      '',
      'CPU',
      'gpu',
      'toString',
      'simulated',
      '1:1',
      'cpu:1:1',
      ...[
        '',
        '1',
        '1:',
        ':1',
        '2:1',
        '0:1',
        '1:0',
        '1:1,',
        '1:1,1:2',
        '1:1,8:2,4:3',
        '1:1,1025:2',
        '1:-1',
        '1:1e3',
        '1:1, 8:2',
        ' 1:1',
      ].map((costs) => `simulated:${costs}`),
    ],
  });

  test('a duration that is written is read again, unchanged', () => {
    const type = duration(0);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 86_400_000 }),
        (ms) => type.parse(type.format(ms)) === ms,
      ),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 24 }),
        fc.constantFrom('s', 'm', 'h'),
        (count, unit) => {
          const ms = type.parse(`${count}${unit}`);
          return ms !== undefined && type.parse(type.format(ms)) === ms;
        },
      ),
    );
  });

  test('durations are written as people write them', () => {
    const written = [0, 1, 1_500, 10_000, 60_000, 90_000, 120_000, 3_600_000, 7_200_000].map(
      duration(0).format,
    );
    assert.deepEqual(written, ['0s', '1ms', '1500ms', '10s', '60s', '90s', '2m', '60m', '2h']);
  });

  test('a number of bytes that is written is read again, unchanged', () => {
    const type = bytes(0, 2 ** 30);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 30 }),
        (count) => type.parse(type.format(count)) === count,
      ),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1023 }),
        (count) => type.format(count * 2 ** 20) === `${count}MiB`,
      ),
    );
  });

  test('no text makes a type throw', () => {
    const types: ValueType<never>[] = [
      path(),
      boolean(),
      integer(0, 9),
      duration(),
      bytes(0, 9),
      address(0),
      executionProvider(),
    ] as never;
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'0123456789:,.[]smhKMGiB-') })),
        (text) => {
          for (const type of types) type.parse(text);
          executionProvider().parse(`simulated:${text}`);
        },
      ),
    );
  });
});
