/** `vitserve bench` against real servers: its counts equal theirs, and it ends when it should. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import type { Measurement } from '#vitserve/client/bench/measure.js';
import { jpeg, TEXT } from '../support/images.js';
import { countingProxy } from '../support/raw-call.js';
import {
  eventually,
  freePort,
  PROGRAM,
  type Scope,
  ServerProcess,
  SIMULATED,
  suiteScope,
  temporaryFolder,
  vitserve,
} from '../support/server.js';

interface Report {
  readonly images: string;
  readonly model: { readonly name: string; readonly executionProvider: string };
  readonly measurements: readonly Measurement[];
}

const PERMITS = 4;

function answeredBy(server: ServerProcess): Promise<number> {
  return server.metric('vitserve_requests_total', { method: 'Classify', code: 'OK' });
}

describe('vitserve bench', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let folder: string;

  before(async () => {
    server = await ServerProcess.start(scope, [...SIMULATED, '--permits', String(PERMITS)]);
    folder = temporaryFolder(scope);
    mkdirSync(join(folder, 'more'));
    for (const [seed, name] of ['a.jpg', 'b.JPEG', 'more/c.jpg'].entries()) {
      writeFileSync(join(folder, name), await jpeg(seed, 32, 32));
    }
    writeFileSync(join(folder, 'notes.txt'), TEXT);
  });

  const bench = (t: Scope, ...args: string[]) =>
    vitserve(t, ['bench', '--address', server.address, ...args]);
  const report = async (t: Scope, ...args: string[]): Promise<Report> => {
    const { code, stdout, stderr } = await bench(t, '--json', ...args);
    assert.deepEqual([code, stderr], [0, ''], stdout);
    return JSON.parse(stdout) as Report;
  };
  /** Calls by code and reason, from the server's metrics. */
  const countedByServer = async (
    outcomes: readonly { readonly code: string; readonly reason: string }[],
  ) => {
    const counts = outcomes.map(({ code, reason }) =>
      server.metric('vitserve_requests_total', { method: 'Classify', code, reason }),
    );
    const all = server.metric('vitserve_requests_total', { method: 'Classify' });
    return { each: await Promise.all(counts), all: await all };
  };
  const total = ({ outcomes }: Measurement) => outcomes.reduce((sum, { calls }) => sum + calls, 0);

  for (const [what, load] of [
    ['a closed loop', ['--callers', '3,12']],
    ['an open loop beside a closed one', ['--callers', '2', '--rate', '60,600']],
  ] as const) {
    test(`${what}: every call is counted once, as in the server, also rejections`, async (t) => {
      const reasons = [
        { code: 'OK', reason: '' },
        { code: 'RESOURCE_EXHAUSTED', reason: 'OVERLOADED' },
      ];
      const earlier = await countedByServer(reasons);
      const { measurements, model, images } = await report(
        t,
        ...load,
        '--warm-up',
        '0s',
        '--duration',
        '1s',
        folder,
      );
      const now = await countedByServer(reasons);
      assert.deepEqual([model.name, model.executionProvider], ['vit-cifar10', 'simulated']);
      assert.match(images, /^3 files, [\d.]+ kB on average$/);
      const told = reasons.map(({ code }) =>
        measurements
          .flatMap(({ outcomes }) => outcomes)
          .filter((outcome) => outcome.code === code)
          .reduce((sum, { calls }) => sum + calls, 0),
      );
      assert.deepEqual(
        told,
        now.each.map((count, index) => count - (earlier.each[index] ?? 0)),
      );
      assert.equal(
        measurements.reduce((sum, measurement) => sum + total(measurement), 0),
        now.all - earlier.all,
      );
      for (const { server: times, latencyMs, unfinished, seconds } of measurements) {
        assert.deepEqual([unfinished, seconds], [0, 1]);
        assert.ok(times !== null && latencyMs !== null);
        assert.equal(times.meanBatchSize, 1);
        assert.ok(times.decodeMs.mean > 0 && times.inferenceMs.mean >= 0.1);
        const parts = [times.decodeMs, times.queueMs, times.inferenceMs, times.elsewhereMs];
        const sum = parts.reduce((sum, { mean }) => sum + mean, 0);
        assert.ok(sum <= latencyMs.mean * 1.01, `${sum} of ${latencyMs.mean} ms`);
      }
    });
  }

  test('callers beyond the permits are rejected, which does not count as goodput', async (t) => {
    const thaw = await server.freeze(t, 'inference');
    const running = report(t, '--callers', '12', '--warm-up', '0s', '--duration', '1s', folder);
    await server.metricIs('vitserve_permits_in_use', {}, PERMITS);
    await eventually('callers are refused', () =>
      server.metric('vitserve_requests_total', { method: 'Classify', reason: 'OVERLOADED' }),
    );
    thaw();
    const [measurement] = (await running).measurements;
    assert.ok(measurement !== undefined);
    const refused = measurement.outcomes.find(({ reason }) => reason === 'OVERLOADED')?.calls ?? 0;
    assert.ok(refused > 0);
    assert.ok(measurement.goodputPerSecond < measurement.callsPerSecond);
    assert.ok(measurement.failureLatencyMs !== null);
  });

  test('without a file it draws a picture, and prints a table', async (t) => {
    const { code, stdout, stderr } = await bench(
      t,
      '--callers',
      '1,2',
      '--warm-up',
      '0s',
      '--duration',
      '300ms',
    );
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(
      stdout,
      /^vit-cifar10\/1 on simulated at [\d.:]+; a drawn JPEG of 500 × 375, \d+ kB\n/,
    );
    assert.match(stdout, /^ +1 caller +2 callers$/m);
    for (const row of [
      'calls/s',
      'latency, ms, p50',
      'calls: OK',
      'server, ms, mean: decode',
      'generator, CPU-ms per call',
    ]) {
      assert.match(stdout, new RegExp(`^${row} +[\\d.,]+ +[\\d.,]+$`, 'm'), stdout);
    }
  });

  test('opens as many connections as given', async (t) => {
    const proxy = await countingProxy(t, server.port);
    const args = [
      '--callers',
      '3',
      '--connections',
      '3',
      '--warm-up',
      '0s',
      '--duration',
      '200ms',
      folder,
    ];
    const { code } = await vitserve(t, ['bench', '--address', `127.0.0.1:${proxy.port}`, ...args]);
    assert.equal(code, 0);
    assert.equal(proxy.connections(), 3);
  });

  test('Ctrl-C ends it at once with the figures so far, whatever the server does', async (t) => {
    const args = [
      'bench',
      '--address',
      server.address,
      '--callers',
      '2,3',
      '--warm-up',
      '0s',
      '--duration',
      '1h',
      folder,
    ];
    const answered = await answeredBy(server);
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    await eventually('calls are answered', async () => (await answeredBy(server)) > answered + 20);
    const thaw = await server.freeze(t, 'inference');
    await server.metricIs('vitserve_permits_in_use', {}, 2);
    child.kill('SIGINT');
    const [code] = await once(child, 'close');
    thaw();
    assert.equal(code, 0);
    assert.match(stdout, /unfinished +2$/m);
    assert.match(stdout, /calls: OK +\d\d+$/m);
    await server.metricIs('vitserve_permits_in_use', {}, 0);
  });

  test('if all calls fail the table says how, and the exit code is 1', async (t) => {
    const args = [
      '--callers',
      '1',
      '--warm-up',
      '0s',
      '--duration',
      '100ms',
      join(folder, 'notes.txt'),
    ];
    const { code, stdout } = await bench(t, ...args);
    assert.equal(code, 1);
    assert.match(stdout, /^calls: INVALID_ARGUMENT IMAGE_UNSUPPORTED +\d+$/m);
    assert.doesNotMatch(stdout, /latency/);
  });

  test('impossible settings are rejected before any load, all at once', async (t) => {
    const empty = temporaryFolder(t);
    const { code, stdout, stderr } = await bench(t, 'not-there.jpg', empty);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(
      stderr,
      /^vitserve: can't read not-there\.jpg \(ENOENT.*\nvitserve: .* has no JPEG, PNG or WebP file\n$/,
    );
    const unknown = await bench(t, '--model', 'no-such-model', folder);
    assert.equal(unknown.code, 1);
    assert.match(
      unknown.stderr,
      /^vitserve: no such model: .*vit-cifar10: give another --model\n$/,
    );
  });

  test('without a server it says so at once, and how to start one', async (t) => {
    const address = `127.0.0.1:${await freePort()}`;
    const { code, stdout, stderr } = await vitserve(t, [
      'bench',
      '--address',
      address,
      '--duration',
      '1h',
    ]);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(
      stderr,
      /^vitserve: no server answers at 127\.0\.0\.1:\d+ \(.*\): start one with "vitserve serve", or give another --address\n$/,
    );
  });
});

test('a server that stops ends the measurement, with the figures so far', async (t) => {
  const server = await ServerProcess.start(t, SIMULATED);
  const load = ['--callers', '1,2', '--warm-up', '0s', '--duration', '1h'];
  const answered = await answeredBy(server);
  const running = vitserve(t, ['bench', '--address', server.address, ...load]);
  await eventually('calls are answered', async () => (await answeredBy(server)) > answered + 5);
  await server.end();
  const { code, stdout } = await running;
  assert.equal(code, 1);
  assert.match(stdout, /^calls: OK +\d+$/m);
  assert.match(stdout, /^1 caller: stopped, because the server was unreachable$/m);
});
