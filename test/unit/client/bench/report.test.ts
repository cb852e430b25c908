/** Measurements as a report for people. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Measurement } from '#vitserve/client/bench/measure.js';
import { renderReport, warningsOf } from '#vitserve/client/bench/report.js';

const spread = (p50: number) => ({
  mean: p50,
  p50,
  p90: p50 * 2,
  p99: p50 * 10,
  p999: p50 * 100,
  max: p50 * 1000,
});

const CLOSED: Measurement = {
  load: { kind: 'closed', callers: 32 },
  seconds: 10,
  callsPerSecond: 1234.5,
  goodputPerSecond: 98.76,
  latencyMs: spread(1.234),
  failureLatencyMs: null,
  outcomes: [{ code: 'OK', reason: '', message: '', calls: 12_345 }],
  unfinished: 0,
  server: {
    decodeMs: spread(1.5),
    queueMs: spread(0.25),
    inferenceMs: spread(2),
    elsewhereMs: spread(1),
    meanBatchSize: 3.5,
    batchSizes: { 3: 6000, 4: 6345 },
  },
  sendLagMs: spread(0.001),
  generator: { cpuMsPerCall: 0.5, busyShare: 0.42, eventLoopDelayMs: { p99: 1, max: 12 } },
  lost: false,
};
const OPEN: Measurement = {
  ...CLOSED,
  load: { kind: 'open', ratePerSecond: 2000, seed: 0 },
  latencyMs: null,
  server: null,
  failureLatencyMs: spread(3),
  outcomes: [
    { code: 'RESOURCE_EXHAUSTED', reason: 'OVERLOADED', message: 'full', calls: 700 },
    { code: 'DEADLINE_EXCEEDED', reason: 'DEADLINE_EXCEEDED', message: 'too late', calls: 20 },
    { code: 'DEADLINE_EXCEEDED', reason: '', message: 'gave up', calls: 1 },
  ],
  sendLagMs: spread(0.2),
};

describe('the table', () => {
  test('has a column for each measurement, with three digits of each figure', () => {
    const lines = renderReport([CLOSED, OPEN]).split('\n');
    const row = (label: string) =>
      lines
        .find((line) => line.trimStart().startsWith(label))
        ?.trim()
        .split(/ {2,}/);
    assert.deepEqual(lines[0]?.trim().split(/ {2,}/), ['32 callers', '2000/s']);
    assert.deepEqual(row('calls/s'), ['calls/s', '1,235', '1,235']);
    assert.deepEqual(row('OK in time'), ['OK in time (goodput)', '98.8', '98.8']);
    assert.deepEqual(row('latency, ms, p50'), ['latency, ms, p50', '1.23', '–']);
    assert.deepEqual(row('p99.9'), ['p99.9', '123', '–']);
    assert.deepEqual(row('max'), ['max', '1,234', '–']);
    assert.deepEqual(row('images per execution'), ['images per execution', '3.50', '–']);
    assert.deepEqual(row('sent late'), ['sent late, ms, p99', '–', '2.00']);
  });

  test('is aligned: every column ends at the same place', () => {
    const lines = renderReport([CLOSED, OPEN]).trimEnd().split('\n');
    const width = lines[0]?.length;
    for (const line of lines) assert.equal(line.length, width, line);
  });

  test('counts calls by status and reason, OK first, without those that did not occur', () => {
    const lines = renderReport([OPEN, CLOSED]).split('\n');
    const at = lines.findIndex((line) => line.startsWith('calls:'));
    const counted = lines
      .slice(at, at + 4)
      .map((line) => line.replace('calls:', '').trim().split(/ {2,}/));
    assert.deepEqual(counted, [
      ['OK', '–', '12345'],
      ['RESOURCE_EXHAUSTED OVERLOADED', '700', '–'],
      ['DEADLINE_EXCEEDED', '21', '–'],
      ['latency, ms, p50', '–', '1.23'],
    ]);
  });

  test('leaves out rows that no measurement has', () => {
    const text = renderReport([CLOSED]);
    for (const absent of ['not OK', 'sent late', 'unfinished'])
      assert.ok(!text.includes(absent), absent);
    assert.match(renderReport([{ ...CLOSED, unfinished: 3 }]), /unfinished +3\n/);
  });
});

test('shows an error text of the transport once, as an example', () => {
  const broken = {
    ...OPEN,
    outcomes: [{ code: 'INTERNAL', reason: '', message: 'stream reset', calls: 7 }],
  };
  const text = renderReport([OPEN, broken, broken]);
  assert.equal(text.split('INTERNAL, for example: stream reset\n').length, 2);
  for (const own of ['full', 'too late', 'gave up']) assert.ok(!text.includes(own), text);
});

describe('warnings', () => {
  test('are absent if the generator had time to spare', () => {
    assert.deepEqual([...warningsOf(CLOSED), ...warningsOf(OPEN)], []);
  });

  test('name the generator if it may have been the limit', () => {
    const busy = { ...CLOSED, generator: { ...CLOSED.generator, busyShare: 0.97 } };
    assert.match(warningsOf(busy).join(), /^32 callers: this program was busy 97 % of the time/);
    assert.match(
      warningsOf({ ...OPEN, sendLagMs: spread(4) }).join(),
      /^2000\/s: calls were sent late \(p99 40\.0 ms\)/,
    );
    assert.deepEqual(
      warningsOf({ ...CLOSED, sendLagMs: spread(4) }),
      [],
      'a closed loop has no time table',
    );
    const unsent = { ...OPEN, outcomes: [{ code: 'NOT_SENT', reason: '', message: '', calls: 1 }] };
    assert.match(warningsOf(unsent).join(), /2000 calls were in flight/);
    assert.match(warningsOf({ ...CLOSED, lost: true }).join(), /unreachable/);
  });
});
