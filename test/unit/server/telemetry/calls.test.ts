/** Which calls the log has, how often, and with which names. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Reason } from '#vitserve/errors.js';
import { CallTelemetry } from '#vitserve/server/telemetry/calls.js';
import type { Logger } from '#vitserve/server/telemetry/log.js';
import { createMetrics } from '#vitserve/server/telemetry/metrics.js';
import { CallRecord, newImageRecord } from '#vitserve/server/telemetry/record.js';
import { FakeClock } from '../../../support/fake-clock.js';

type Fields = Readonly<Record<string, unknown>>;
type Line = readonly [level: string, text: string, fields: Fields];

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const MODEL = { name: 'small', version: '3', executionProvider: 'cpu' };

function stand(options: { readonly sample?: number; readonly debug?: boolean } = {}) {
  const lines: Line[] = [];
  const at = (level: string) => (fields: Fields, text: string) => lines.push([level, text, fields]);
  const log = {
    isLevelEnabled: () => options.debug === true,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  } as unknown as Logger;
  const clock = new FakeClock(5_000);
  const logSample = options.sample ?? 0;
  const calls = new CallTelemetry(createMetrics(), {
    log,
    clock,
    tracing: null,
    logSample,
    service: 'v1.Service',
  });
  return { lines, clock, calls };
}

/** A call, and how it ends. */
function begin(
  calls: CallTelemetry,
  headers: Readonly<Record<string, string>> = {},
  path = '/v1.Service/Classify',
) {
  const record = new CallRecord(path, 5_000);
  record.header = (key) => headers[key];
  record.isAuthenticated = true;
  calls.authenticated(record);
  return {
    record,
    failed: (cause: unknown) => calls.failed(record, cause),
    ended: (code: string, reason: Reason | null) =>
      calls.ended({ kind: 'call-ended', call: record, code, reason }),
  };
}

describe('the log of calls', () => {
  test('has a call that failed, with its names and times', () => {
    const { lines, clock, calls } = stand();
    const call = begin(calls, {
      'x-request-id': 'order-4711',
      traceparent: `00-${TRACE}-b7ad6b7169203331-01`,
    });
    const image = newImageRecord(5_001);
    image.model = MODEL;
    image.decoded = { at: 5_010, decodeMs: 2.5, format: 'png', decoder: 'sharp' };
    call.record.image = image;
    clock.advance(30);
    call.ended('DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED');
    assert.deepEqual(lines, [
      [
        'warn',
        'call ended',
        {
          method: 'Classify',
          code: 'DEADLINE_EXCEEDED',
          reason: 'DEADLINE_EXCEEDED',
          durationMs: 30,
          requestId: 'order-4711',
          traceId: TRACE,
          model: 'small/3',
          decodeMs: 2.5,
        },
      ],
    ]);
  });

  test('warns of faults of the server, and informs of mistakes of callers', () => {
    const { lines, calls } = stand();
    begin(calls).ended('RESOURCE_EXHAUSTED', 'OVERLOADED');
    begin(calls).ended('UNAVAILABLE', 'PROCESS_LOST');
    begin(calls).ended('INVALID_ARGUMENT', 'IMAGE_UNDECODABLE');
    begin(calls).ended('CANCELLED', 'CANCELLED');
    begin(calls).ended('UNIMPLEMENTED', null);
    assert.deepEqual(
      lines.map(([level]) => level),
      ['warn', 'warn', 'info', 'info', 'info'],
    );
  });

  test('has ten of a reason in ten seconds, then how many more there were', () => {
    const { lines, clock, calls } = stand();
    const refuse = (count: number) => {
      for (let call = 0; call < count; call++)
        begin(calls).ended('RESOURCE_EXHAUSTED', 'OVERLOADED');
    };
    refuse(1_000);
    begin(calls).ended('UNAVAILABLE', 'DRAINING');
    assert.equal(lines.length, 11);
    clock.advance(9_999);
    assert.equal(lines.length, 11);
    clock.advance(1);
    assert.deepEqual(lines.slice(11), [
      ['info', 'more calls ended like it', { reason: 'OVERLOADED', calls: 990, seconds: 10 }],
    ]);
    refuse(3);
    clock.advance(10_000);
    assert.equal(lines.length, 15, 'a quiet window ends without a word');
    assert.equal(clock.timers, 0);
  });

  test('has the cause of a fault once, however many calls end with it', () => {
    const { lines, calls } = stand();
    const cause = new Error('broken');
    for (let count = 0; count < 50; count++) {
      const call = begin(calls, { 'x-request-id': `${count}` });
      call.failed(cause);
      call.ended('INTERNAL', 'INTERNAL');
    }
    assert.equal(lines.length, 10);
    assert.deepEqual(lines[0], [
      'error',
      'call failed',
      { method: 'Classify', requestId: '0', err: cause },
    ]);
  });

  test('has a sample of answered calls, where log-sample is set', () => {
    const none = stand();
    for (let count = 0; count < 10; count++) begin(none.calls).ended('OK', null);
    assert.deepEqual(none.lines, []);

    const some = stand({ sample: 4 });
    for (let count = 0; count < 10; count++) begin(some.calls).ended('OK', null);
    assert.deepEqual(
      some.lines.map(([level, text, { code }]) => [level, text, code]),
      [
        ['info', 'call ended', 'OK'],
        ['info', 'call ended', 'OK'],
      ],
    );
  });

  test('leaves health, reflection and the own warm-up to the debug level, which has everything', () => {
    const quiet = stand({ sample: 1 });
    const end = ({ calls }: typeof quiet) => {
      begin(calls, {}, '/grpc.health.v1.Health/Check').ended('OK', null);
      begin(calls, {}, '/grpc.health.v1.Health/Watch').ended('CANCELLED', 'CANCELLED');
      const warmUp = begin(calls);
      warmUp.record.isAuthenticated = false;
      warmUp.ended('OK', null);
    };
    end(quiet);
    assert.deepEqual(quiet.lines, []);
    const loud = stand({ debug: true });
    end(loud);
    assert.deepEqual(
      loud.lines.map(([level, text]) => `${level} ${text}`),
      ['debug call ended', 'debug call ended', 'debug call ended'],
    );
  });
});

describe('the name of a call', () => {
  test('is the caller’s, if it is sane, and the same each time it is asked for', () => {
    const { calls } = stand();
    const sane = ['order-4711', '01J9ZV3M', 'a.b_c:d/e+f=g@h', 'x'.repeat(128)];
    for (const id of sane) assert.equal(begin(calls, { 'x-request-id': id }).record.requestId, id);
    for (const id of ['', ' ', 'two words', 'line\nbreak', '"quoted"', 'é', 'x'.repeat(129)]) {
      const call = begin(calls, { 'x-request-id': id }).record;
      assert.match(call.requestId, /^[\da-f]{8}-[\da-f-]{27}$/);
      assert.equal(call.requestId, call.requestId);
    }
  });

  test('of its trace is absent where the header is malformed', () => {
    const { lines, calls } = stand();
    const wrong = [
      '',
      TRACE,
      `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
      `ff-${TRACE}-b7ad6b7169203331-01`,
    ];
    for (const traceparent of wrong) begin(calls, { traceparent }).ended('UNKNOWN', null);
    for (const [, , fields] of lines) assert.ok(!('traceId' in fields));
    assert.equal(lines.length, wrong.length);
  });
});
