/**
 * Traces of the built server, as a receiver of OTLP gets them; and a faulty receiver disturbs no
 * call.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { pino } from 'pino';
import { readTracing } from '#vitserve/cli/tracing.js';
import { systemClock } from '#vitserve/clock.js';
import { createMetrics } from '#vitserve/server/telemetry/metrics.js';
import { newImageRecord } from '#vitserve/server/telemetry/record.js';
import { createTracing } from '#vitserve/server/telemetry/tracing.js';
import { failureOf, PlainClient, SERVICE } from '../support/grpc-client.js';
import { jpeg, TEXT } from '../support/images.js';
import {
  type OtlpReceiver,
  type ReceivedSpan,
  startOtlpReceiver,
} from '../support/otlp-receiver.js';
import { eventually, REPOSITORY, ServerProcess, SIMULATED, suiteScope } from '../support/server.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CALLER = 'b7ad6b7169203331';
const STAGES = ['upload', 'decode queue', 'decode', 'batch queue', 'inference', 'reply'];

const parent = (flags: '00' | '01') => ({
  traceparent: `00-${TRACE}-${CALLER}-${flags}`,
  tracestate: 'vendor=1',
});

test('an image that ends after its call has a span too', async (t) => {
  const receiver = await startOtlpReceiver(t);
  const variable = 'OTEL_EXPORTER_OTLP_ENDPOINT';
  const { [variable]: before } = process.env;
  t.after(() => {
    if (before === undefined) delete process.env[variable];
    else process.env[variable] = before;
  });
  process.env[variable] = receiver.endpoint;
  const { settings } = readTracing(process.env);
  assert.ok(settings);
  const tracing = createTracing({
    settings,
    version: '0',
    log: pino({ level: 'silent' }),
    metrics: createMetrics(),
    clock: systemClock,
  });
  const at = systemClock.now();
  const trace = tracing.begin('test', 'LateImage', at, () => undefined);
  const rest = { requestId: 'late', image: null, at: systemClock.now() };
  trace.end({ code: 'CANCELLED', reason: 'CANCELLED', ...rest });
  trace.streamImage(newImageRecord(at, Infinity), 'CANCELLED', systemClock.now());
  await tracing.close();
  const call = receiver.spans.find(({ name }) => name === 'test/LateImage');
  const late = receiver.spans.filter(({ parentSpanId }) => parentSpanId === call?.spanId);
  assert.deepEqual(
    late.map(({ name }) => name),
    ['image'],
  );
});

describe('traces of a server', () => {
  const scope = suiteScope();
  let receiver: OtlpReceiver;
  let server: ServerProcess;
  let client: PlainClient;
  let image: Buffer;

  before(async () => {
    receiver = await startOtlpReceiver(scope);
    server = await ServerProcess.start(scope, [...SIMULATED, '--log-sample', '1'], {
      environment: {
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
        OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=trial',
        OTEL_BSP_SCHEDULE_DELAY: '20',
      },
    });
    client = new PlainClient(scope, server.address);
    image = await jpeg(1);
  });

  const spanOf = async (name: string, matches: (span: ReceivedSpan) => boolean) =>
    await eventually(`span ${name}`, () =>
      receiver.spans.find((span) => span.name === name && matches(span)),
    );
  const childrenOf = ({ spanId }: ReceivedSpan) =>
    receiver.spans.filter(({ parentSpanId }) => parentSpanId === spanId);

  test('the server’s own warm-up is not traced', () => {
    assert.ok(!server.lines.some(({ msg }) => msg === 'call ended'));
    assert.equal(receiver.spans.length, 0);
  });

  test('a call continues the trace of its caller, with its stages one after another', async () => {
    await client.classify(
      { image },
      { metadata: { ...parent('01'), 'x-request-id': 'order-4711' } },
    );
    const call = await spanOf(`${SERVICE}/Classify`, ({ traceId }) => traceId === TRACE);
    assert.equal(call.parentSpanId, CALLER);
    assert.equal(call.traceState, 'vendor=1');
    assert.equal(call.kind, 2);
    assert.equal(call.status, 0);
    assert.deepEqual(call.attributes, {
      'rpc.system.name': 'grpc',
      'rpc.method': `${SERVICE}/Classify`,
      'rpc.response.status_code': 'OK',
      'vitserve.request_id': 'order-4711',
      'vitserve.model.name': 'vit-cifar10',
      'vitserve.model.version': '1',
      'vitserve.execution_provider': 'simulated',
      'vitserve.batch.size': 1,
    });
    assert.equal(call.resource['service.name'], 'vitserve');
    assert.equal(call.resource['deployment.environment.name'], 'trial');
    const stages = childrenOf(call);
    assert.deepEqual(
      stages.map(({ name }) => name),
      STAGES,
    );
    let at = call.start;
    for (const stage of stages) {
      assert.equal(stage.traceId, TRACE);
      assert.equal(stage.start, at, `${stage.name} begins where the one before it ends`);
      assert.ok(stage.end >= stage.start);
      at = stage.end;
    }
    assert.equal(at, call.end);
    const age = Date.now() - Number(call.start / 1_000_000n);
    assert.ok(age >= 0 && age < 60_000, `begun ${age} ms ago`);

    const line = await server.logged('call ended', ({ requestId }) => requestId === 'order-4711');
    assert.equal(line.traceId, TRACE);
    assert.equal(line.spanId, call.spanId);
    assert.ok(Number(line.inferenceMs) > 0);
  });

  test('a call that fails says why, and in which stage', async () => {
    const failure = await failureOf(client.classify({ image: TEXT }));
    assert.match(failure.requestId ?? '', /^[\da-f-]{36}$/);
    const call = await spanOf(
      `${SERVICE}/Classify`,
      ({ attributes }) => attributes['vitserve.request_id'] === failure.requestId,
    );
    assert.equal(call.parentSpanId, '');
    assert.equal(call.status, 0, 'the fault is the caller’s');
    assert.equal(call.attributes['rpc.response.status_code'], 'INVALID_ARGUMENT');
    assert.equal(call.attributes['error.type'], 'IMAGE_UNSUPPORTED');
    assert.deepEqual(
      childrenOf(call).map(({ name, attributes }) => [name, attributes['error.type'] ?? '']),
      [
        ['upload', ''],
        ['decode', 'IMAGE_UNSUPPORTED'],
      ],
    );
    const line = await server.logged(
      'call ended',
      ({ requestId }) => requestId === failure.requestId,
    );
    assert.equal(line.reason, 'IMAGE_UNSUPPORTED');
    assert.equal(line.traceId, call.traceId);
  });

  test('a stream has a span for each of its images', async () => {
    const stream = client.stream();
    stream.send('1', { image });
    stream.send('2', { image: TEXT });
    await stream.count(2);
    stream.finish();
    await stream.ended;
    const call = await spanOf(`${SERVICE}/ClassifyStream`, () => true);
    const images = childrenOf(call);
    assert.deepEqual(
      images.map(({ name, attributes }) => [name, attributes['vitserve.reason'] ?? '']).sort(),
      [
        ['image', ''],
        ['image', 'IMAGE_UNSUPPORTED'],
      ],
    );
    const good = images.find(
      ({ attributes }) => !('vitserve.reason' in attributes),
    ) as ReceivedSpan;
    const names = childrenOf(good).map(({ name }) => name);
    assert.deepEqual(
      names.filter((name) => name !== 'permit'),
      STAGES.slice(1),
    );
  });

  test('a caller that does not record its trace has none here, except in the log', async () => {
    const before = receiver.spans.length;
    const unrecorded = TRACE.replaceAll('0', 'e');
    const traceparent = `00-${unrecorded}-${CALLER}-00`;
    await client.classify({ image }, { metadata: { traceparent } });
    await server.logged('call ended', ({ traceId }) => traceId === unrecorded);
    await client.getModel();
    await spanOf(`${SERVICE}/GetModel`, () => true);
    assert.equal(receiver.spans.length, before + 1);
    assert.ok(!receiver.spans.some(({ traceId }) => traceId === unrecorded));
  });

  test('health checks are not traced', async () => {
    await client.check();
    await client.listModels();
    await spanOf(`${SERVICE}/ListModels`, () => true);
    assert.ok(!receiver.spans.some(({ name }) => name.endsWith('/Check')));
    assert.equal(await server.metric('vitserve_trace_spans_total', { result: 'failed' }), 0);
    assert.equal(
      await server.metric('vitserve_trace_spans_total', { result: 'exported' }),
      receiver.spans.length,
    );
  });
});

test('spans that are unsent when the server stops are sent then', async (t) => {
  const receiver = await startOtlpReceiver(t);
  const server = await ServerProcess.start(t, SIMULATED, {
    environment: {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.endpoint}/v1/traces`,
      OTEL_BSP_SCHEDULE_DELAY: '3600000',
    },
  });
  const client = new PlainClient(t, server.address);
  await client.classify({ image: await jpeg(1) });
  assert.equal(receiver.spans.length, 0);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assert.equal(receiver.spans.length, STAGES.length + 1);
});

test('a call without a token is not traced, whatever it sends', async (t) => {
  const receiver = await startOtlpReceiver(t);
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-tracing-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'tokens'), 'a-token-of-some-length-1234567890\n');
  const server = await ServerProcess.start(
    t,
    [...SIMULATED, '--token-file', join(folder, 'tokens')],
    {
      environment: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint },
    },
  );
  const client = new PlainClient(t, server.address);
  const failure = await failureOf(client.classify({ image: TEXT }, { metadata: parent('01') }));
  assert.equal(failure.reason, 'TOKEN_INVALID');
  await server.logged('call ended', ({ requestId }) => requestId === failure.requestId);
  await server.stop();
  assert.equal(receiver.requests, 0);
});

describe('a receiver that', () => {
  const calls = 40;

  /** Answers calls meanwhile, then stops. Returns how long the stop took, in milliseconds. */
  const serveWith = async (server: ServerProcess, client: PlainClient) => {
    const image = await jpeg(1);
    for (let call = 0; call < calls; call++) await client.classify({ image });
    const stoppedAt = performance.now();
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    return performance.now() - stoppedAt;
  };
  const warnings = ({ lines }: ServerProcess) =>
    lines.filter(({ msg }) => msg === 'trouble with exporting traces');
  const start = (t: Parameters<typeof ServerProcess.start>[0], endpoint: string) =>
    ServerProcess.start(t, SIMULATED, {
      environment: {
        OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
        OTEL_BSP_SCHEDULE_DELAY: '5',
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '10',
      },
    });

  test('rejects everything costs one line', async (t) => {
    const receiver = await startOtlpReceiver(t, (response) => response.writeHead(400).end('no'));
    const server = await start(t, receiver.endpoint);
    const client = new PlainClient(t, server.address);
    await client.classify({ image: await jpeg(1) });
    await eventually('some spans have failed', () =>
      server.metric('vitserve_trace_spans_total', { result: 'failed' }),
    );
    await serveWith(server, client);
    assert.ok(receiver.requests > 1);
    assert.equal(warnings(server).length, 1);
  });

  test('never answers delays the stop by two seconds at most', async (t) => {
    const receiver = await startOtlpReceiver(t, () => {});
    const server = await start(t, receiver.endpoint);
    const took = await serveWith(server, new PlainClient(t, server.address));
    assert.ok(receiver.requests > 0);
    assert.ok(took < 4_000, `stopped after ${took} ms`);
  });

  test('is missing disturbs no call', async (t) => {
    const closed = createServer().listen(0, '127.0.0.1');
    const address = closed.address();
    const port = typeof address === 'object' ? address?.port : 0;
    await new Promise((resolve) => closed.close(resolve));
    const server = await start(t, `http://127.0.0.1:${port}`);
    await serveWith(server, new PlainClient(t, server.address));
    assert.ok(warnings(server).length <= 1);
  });
});

test('unusable variables are reported, and the server serves', async (t) => {
  const environment = {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4317',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
  };
  const server = await ServerProcess.start(t, SIMULATED, { environment });
  const line = await server.logged('tracing is not set up as it was asked to be');
  assert.match(String(line.problem), /protocol is grpc/);
  assert.ok(!server.lines.some(({ msg }) => msg === 'traces are exported'));
});

test('a server without traces loads nothing of OpenTelemetry except what prom-client loads', () => {
  const script = `
    await import('./dist/server/command.js');
    const { default: Module } = await import('node:module');
    const loaded = Object.keys(Module._cache).filter((path) => path.includes('/@opentelemetry/'));
    process.stdout.write(JSON.stringify(loaded.filter((path) => !path.includes('/@opentelemetry/api/'))));
    if (!Object.keys(Module._cache).some((path) => path.includes('/prom-client/'))) process.exit(3);
  `;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script],
    {
      cwd: REPOSITORY,
      encoding: 'utf8',
    },
  );
  assert.equal(status, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), []);
});
