/**
 * The standard variables of OpenTelemetry: when traces are exported, where to, and what is ignored
 * of unusable values.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readTracing } from '#vitserve/cli/tracing.js';

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' };

describe('traces are exported', () => {
  test('if an endpoint is named or the exporter is requested, and otherwise not', () => {
    assert.deepEqual(readTracing({}), { settings: null, problems: [] });
    assert.deepEqual(
      readTracing({ OTEL_EXPORTER_OTLP_ENDPOINT: '', OTEL_SERVICE_NAME: 'a' }).settings,
      null,
    );
    assert.equal(readTracing(ENDPOINT).settings?.endpoint, 'http://collector:4318/v1/traces');
    assert.equal(
      readTracing({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://collector/my/path' }).settings
        ?.endpoint,
      'https://collector/my/path',
    );
    assert.equal(
      readTracing({ OTEL_TRACES_EXPORTER: 'otlp' }).settings?.endpoint,
      'http://localhost:4318/v1/traces',
    );
  });

  test('not if they are switched off', () => {
    assert.deepEqual(readTracing({ ...ENDPOINT, OTEL_SDK_DISABLED: 'True' }), {
      settings: null,
      problems: [],
    });
    assert.deepEqual(readTracing({ ...ENDPOINT, OTEL_TRACES_EXPORTER: 'none' }), {
      settings: null,
      problems: [],
    });
    assert.ok(readTracing({ ...ENDPOINT, OTEL_SDK_DISABLED: 'false' }).settings);
  });

  test('by default: every trace, unless its caller has decided otherwise', () => {
    assert.deepEqual(readTracing(ENDPOINT).settings, {
      endpoint: 'http://collector:4318/v1/traces',
      sampler: { kind: 'always_on', parentBased: true, ratio: 1 },
      maxQueueSize: 2048,
      maxExportBatchSize: 512,
      scheduleDelayMs: 5_000,
      exportTimeoutMs: 30_000,
    });
  });

  test('as the variables say', () => {
    const { settings, problems } = readTracing({
      ...ENDPOINT,
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
      OTEL_BSP_MAX_QUEUE_SIZE: '100',
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '10',
      OTEL_BSP_SCHEDULE_DELAY: '200',
      OTEL_BSP_EXPORT_TIMEOUT: '1000',
    });
    assert.deepEqual(problems, []);
    assert.deepEqual(settings?.sampler, { kind: 'traceidratio', parentBased: true, ratio: 0.25 });
    assert.deepEqual(Object.values(settings ?? {}).slice(2), [100, 10, 200, 1_000]);
    for (const kind of ['always_on', 'always_off', 'traceidratio'] as const) {
      const { sampler } = readTracing({ ...ENDPOINT, OTEL_TRACES_SAMPLER: kind }).settings ?? {};
      assert.deepEqual(sampler, { kind, parentBased: false, ratio: 1 });
    }
  });
});

describe('unusable values', () => {
  const off: Readonly<Record<string, readonly [Readonly<Record<string, string>>, RegExp]>> = {
    'another exporter': [{ OTEL_TRACES_EXPORTER: 'zipkin' }, /OTEL_TRACES_EXPORTER is zipkin/],
    'another protocol': [{ ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, /protocol is grpc/],
    'an address that is no URL': [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }, /not a URL/],
  };
  for (const [what, [env, problem]] of Object.entries(off)) {
    test(`${what}: reported, and nothing is exported`, () => {
      const { settings, problems } = readTracing(env);
      assert.equal(settings, null);
      assert.match(problems.join('\n'), problem);
    });
  }

  test('of the details are reported and replaced by the defaults', () => {
    const { settings, problems } = readTracing({
      ...ENDPOINT,
      OTEL_TRACES_SAMPLER: 'jaeger_remote',
      OTEL_BSP_MAX_QUEUE_SIZE: '-1',
      OTEL_BSP_SCHEDULE_DELAY: 'soon',
    });
    assert.deepEqual(settings, readTracing(ENDPOINT).settings);
    assert.equal(problems.length, 3);
    const ratio = readTracing({
      ...ENDPOINT,
      OTEL_TRACES_SAMPLER: 'traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '2',
    });
    assert.equal(ratio.settings?.sampler.ratio, 1);
    assert.equal(ratio.problems.length, 1);
  });

  test('with secrets in the address never show them', () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://user:secret@collector:4318/?token=secret' };
    assert.doesNotMatch(JSON.stringify(readTracing(env)), /secret/);
    assert.equal(readTracing(env).settings?.endpoint, 'https://collector:4318/v1/traces');
  });
});
