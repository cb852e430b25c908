/** The whole exposition, with the numbers masked where they don't matter. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Admission } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import type { ModelLine } from '#vitserve/server/models/model-line.js';
import type { ServedModel } from '#vitserve/server/models/served-model.js';
import { newImageRecord } from '#vitserve/server/pipeline/image-record.js';
import type { BatchCost } from '#vitserve/server/scheduling/cost-table.js';
import { type CallObserver, createCallObserver } from '#vitserve/server/telemetry/calls.js';
import type { Logger } from '#vitserve/server/telemetry/log.js';
import { createMetrics, type Metrics } from '#vitserve/server/telemetry/metrics.js';
import {
  createCatalogObserver,
  createChildObserver,
  createConnectionObserver,
  createCredentialObserver,
  createPermitObserver,
  createPipelineObserver,
  createRejectionObserver,
  watchAdmission,
} from '#vitserve/server/telemetry/observers.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { EXPOSITION } from './exposition.js';

const NO_PROC = existsSync('/proc/self/stat') ? false : 'this system has no /proc';

/** Lines of the exposition that are vitserve's own. */
async function linesOf(metrics: Metrics): Promise<string[]> {
  const text = await metrics.registry.metrics();
  return text.split('\n').filter((line) => /^(# (HELP|TYPE) )?vitserve_/.test(line));
}

/** Samples that are not zero, without buckets. */
async function samplesOf(metrics: Metrics): Promise<string[]> {
  const lines = await linesOf(metrics);
  return lines.filter(
    (line) => !line.startsWith('#') && !/_bucket\{/.test(line) && !line.endsWith(' 0'),
  );
}

/** A log that remembers level, text and fields. */
function createLog(): { readonly log: Logger; readonly lines: unknown[] } {
  const lines: unknown[] = [];
  const at = (level: string) => (fields: unknown, text: unknown) =>
    lines.push([level, text, fields]);
  // What is said of every call is for debugging, and not collected here.
  const log = {
    debug: () => {},
    isLevelEnabled: () => false,
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  } as unknown as Logger;
  return { log, lines };
}

function observeCalls(metrics: Metrics, log: Logger, clock = new FakeClock()): CallObserver {
  return createCallObserver({
    metrics,
    log,
    clock,
    tracing: null,
    logSample: 0,
    service: 'v1.Service',
  });
}

describe('the exposition', () => {
  test('of a server that has answered one image has exactly these names, texts and series', async () => {
    const metrics = createMetrics();
    const { log } = createLog();
    const line = createPipelineObserver(metrics, log);
    line.decodeQueueLength(1);
    line.batchQueueLength('small', 0);
    line.decoded('jpeg', 'turbojpeg', 1.5);
    line.executed('small', 4, 8);
    line.answered(2, 30);
    observeCalls(metrics, log).callBegan('/v1.Service/Classify', 0).ended('OK', null);
    const masked = (await linesOf(metrics)).map((sample) =>
      sample.startsWith('#')
        ? sample
        : sample.replace(/\ble="[^"]*"/, 'le="*"').replace(/ \S+$/, ' N'),
    );
    const withoutRepeats = masked.filter((sample, at) => sample !== masked[at - 1]);
    assert.equal(withoutRepeats.join('\n'), EXPOSITION.trim());
  });

  test('has bounds from a quarter of a millisecond to 16 seconds, and batches up to 256', async () => {
    const metrics = createMetrics();
    const boundsOf = async (name: string) =>
      (await linesOf(metrics)).flatMap((line) => {
        const [, bound] = new RegExp(`^${name}_bucket\\{le="([^"]*)"`).exec(line) ?? [];
        return bound === undefined || bound === '+Inf' ? [] : [Number(bound)];
      });
    const seconds = await boundsOf('vitserve_queue_duration_seconds');
    assert.deepEqual([seconds[0], seconds.at(-1)], [0.00025, 16]);
    for (const [at, bound] of seconds.slice(1).entries()) {
      const growth = bound / (seconds[at] ?? 0);
      assert.ok(growth >= 1.49 && growth <= 2, `${bound} is ${growth} times the bound before`);
    }
    createPipelineObserver(metrics, createLog().log).executed('small', 1, 1);
    assert.deepEqual(await boundsOf('vitserve_batch_size'), [1, 2, 4, 8, 16, 32, 64, 128, 256]);
  });

  test('of one set of metrics knows nothing of another', async () => {
    const [first, second] = [createMetrics(), createMetrics()];
    first.retries.inc({ stage: 'decode' });
    assert.deepEqual(await samplesOf(first), ['vitserve_retries_total{stage="decode"} 1']);
    assert.deepEqual(await samplesOf(second), []);
  });

  test('has the process metrics that every Node program has', async () => {
    const text = await createMetrics().registry.metrics();
    assert.match(text, /^process_cpu_seconds_total \d/m);
    assert.match(text, /^nodejs_eventloop_lag_seconds \d/m);
  });
});

describe('what the line reports', () => {
  test('is counted, in seconds', async () => {
    const metrics = createMetrics();
    const line = createPipelineObserver(metrics, createLog().log);
    line.decoded('png', 'sharp', 1_500);
    line.executed('small', 4, 250);
    line.answered(20, null);
    line.answered(30, 500);
    line.dropped('batch', 'expired');
    line.dropped('batch', 'expired');
    line.decodeRetried();
    line.batchRetried('small');
    line.batchQueueLength('small', 17);
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_decode_duration_seconds_sum{format="png",decoder="sharp"} 1.5',
      'vitserve_decode_duration_seconds_count{format="png",decoder="sharp"} 1',
      'vitserve_queue_duration_seconds_sum 0.05',
      'vitserve_queue_duration_seconds_count 2',
      'vitserve_inference_duration_seconds_sum{model="small"} 0.25',
      'vitserve_inference_duration_seconds_count{model="small"} 1',
      'vitserve_batch_size_sum{model="small"} 4',
      'vitserve_batch_size_count{model="small"} 1',
      'vitserve_deadline_slack_seconds_sum 0.5',
      'vitserve_deadline_slack_seconds_count 1',
      'vitserve_dropped_images_total{stage="batch",cause="expired"} 2',
      'vitserve_retries_total{stage="decode"} 1',
      'vitserve_retries_total{stage="batch"} 1',
      'vitserve_queue_length{stage="batch",model="small"} 17',
    ]);
  });
});

describe('what connections and credentials report', () => {
  test('connections are counted, and why one was refused', async () => {
    const metrics = createMetrics();
    const { log, lines } = createLog();
    const observer = createConnectionObserver(metrics, log);
    observer.connectionsOpen(3);
    observer.connectionRefused('limit', '10.0.0.1:5', 'full');
    observer.connectionRefused('limit', '10.0.0.1:6', 'full');
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_connections_in_use 3',
      'vitserve_connections_refused_total{cause="limit"} 2',
    ]);
    assert.deepEqual(lines, [], 'anybody could fill the log');
  });

  test('of callers with another protocol each kind is told once', async () => {
    const metrics = createMetrics();
    const { log, lines } = createLog();
    const observer = createConnectionObserver(metrics, log);
    for (const detail of ['TLS', 'TLS', 'HTTP/1.1'])
      observer.connectionRefused('protocol', '10.0.0.1:5', detail);
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_connections_refused_total{cause="protocol"} 3',
    ]);
    assert.equal(lines.length, 2);
  });

  test('certificates show when they end; what is wrong with new ones is counted each time and logged once', async () => {
    const metrics = createMetrics();
    const { log, lines } = createLog();
    const observer = createCredentialObserver(metrics, log);
    const loaded = {
      fingerprint256: 'AB:CD',
      expiresAt: 1_800_000_000_000,
      clientCaExpiresAt: 1_900_000_000_000,
    };
    observer.credentialLoaded('certificate', loaded);
    observer.credentialLoaded('tokens', { tokens: 2 });
    for (const problems of [['damaged'], ['damaged'], ['expired', 'damaged'], ['damaged']]) {
      observer.credentialKept('certificate', problems);
    }
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_credential_reloads_total{kind="certificate",result="loaded"} 1',
      'vitserve_credential_reloads_total{kind="tokens",result="loaded"} 1',
      'vitserve_credential_reloads_total{kind="certificate",result="kept"} 4',
      'vitserve_tls_certificate_expiry_timestamp_seconds{certificate="server"} 1800000000',
      'vitserve_tls_certificate_expiry_timestamp_seconds{certificate="client_ca"} 1900000000',
    ]);
    const expires = { server: '2027-01-15T08:00:00.000Z', client_ca: '2030-03-17T17:46:40.000Z' };
    const kept = 'credentials not loaded: those before stay in use';
    assert.deepEqual(lines, [
      ['info', 'credentials loaded', { kind: 'certificate', fingerprint256: 'AB:CD', expires }],
      ['info', 'credentials loaded', { kind: 'tokens', tokens: 2 }],
      ['warn', kept, { kind: 'certificate', problems: ['damaged'] }],
      ['warn', kept, { kind: 'certificate', problems: ['expired', 'damaged'] }],
      ['warn', kept, { kind: 'certificate', problems: ['damaged'] }],
    ]);
  });
});

describe('what the calls report', () => {
  test('is counted by method, code and reason', async () => {
    const metrics = createMetrics();
    const clock = new FakeClock(1_000);
    const calls = observeCalls(metrics, createLog().log, clock);
    calls.callBegan('/v1.Service/Classify', 750).ended('OK', null);
    calls.callBegan('/v1.Service/Classify', 1_000).ended('RESOURCE_EXHAUSTED', 'OVERLOADED');
    const stream = calls.callBegan('/v1.Service/ClassifyStream', 1_000);
    stream.streamImageEnded(newImageRecord(1_000), 'OK', null);
    stream.streamImageEnded(newImageRecord(1_000), 'INVALID_ARGUMENT', 'IMAGE_EMPTY');
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_requests_total{method="Classify",code="OK",reason=""} 1',
      'vitserve_requests_total{method="Classify",code="RESOURCE_EXHAUSTED",reason="OVERLOADED"} 1',
      'vitserve_request_duration_seconds_sum{method="Classify"} 0.25',
      'vitserve_request_duration_seconds_count{method="Classify"} 2',
      'vitserve_stream_images_total{code="OK",reason=""} 1',
      'vitserve_stream_images_total{code="INVALID_ARGUMENT",reason="IMAGE_EMPTY"} 1',
    ]);
  });
});

describe('what the door shows', () => {
  test('follows permits and uploads', async () => {
    const metrics = createMetrics();
    const clock = new FakeClock();
    const admission = new Admission({
      permits: new Permits(0, clock),
      clock,
      maxUploads: () => 9,
      uploadTimeoutMs: 1_000,
    });
    watchAdmission(metrics, admission);
    assert.deepEqual(await samplesOf(metrics), []);
    admission.permits.setLimit(3);
    const permit = admission.beginUpload(() => {}).admit();
    admission.beginUpload(() => {});
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_permits_limit 3',
      'vitserve_permits_in_use 1',
      'vitserve_uploads_in_flight 1',
    ]);
    permit.release();
    clock.advance(1_000);
    assert.deepEqual(await samplesOf(metrics), ['vitserve_permits_limit 3']);
  });
});

describe('what becomes of permits and rejections', () => {
  test('shows in the log and in the metrics', async () => {
    const metrics = createMetrics();
    const { log, lines } = createLog();
    const permits = createPermitObserver(log);
    permits.permitsCorrected(400, 99.6);
    permits.permitsShort(75, 'shared memory');
    assert.deepEqual(lines, [
      ['info', 'permits corrected', { permits: 400, imagesPerSecond: 100 }],
      ['warn', 'fewer permits than would be good', { permits: 75, short: 'shared memory' }],
    ]);
    const rejections = createRejectionObserver(metrics);
    rejections.rejectionHeld();
    rejections.rejectionsHeld(1);
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_held_rejections 1',
      'vitserve_held_rejections_total 1',
    ]);
    rejections.rejectionsHeld(0);
    assert.deepEqual(await samplesOf(metrics), ['vitserve_held_rejections_total 1']);
  });
});

describe('what the catalog reports', () => {
  /** What is served of `name`, and what its line has reported. */
  const lineOf = (
    name: string,
    version: string,
    fallbackReason: string | null = null,
    costs: readonly BatchCost[] = [],
  ) => {
    const places = { executionProvider: 'cpu', fallbackReason, slowForm: null };
    const model = { name, version, ...places, maxBatchSize: 4 } as ServedModel;
    return { model, processes: 2, costs } as ModelLine;
  };
  const stand = () => {
    const metrics = createMetrics();
    const { log, lines } = createLog();
    const shown: string[] = [];
    const catalog = createCatalogObserver(metrics, log, () => shown.push('health'));
    const line = createPipelineObserver(metrics, createLog().log);
    const work = (name: string) => {
      line.executed(name, 2, 500);
      line.batchQueueLength(name, 3);
    };
    return { metrics, catalog, lines, shown, work };
  };

  test('names a form that is slow on this machine, and what helps', () => {
    const { catalog, lines } = stand();
    const { model, ...line } = lineOf('small', '1');
    const slowForm = { reason: 'too wide', remedy: 'make it narrow' };
    catalog.modelServed({ ...line, model: { ...model, slowForm } } as ModelLine);
    catalog.modelServed(lineOf('large', '1'));
    const text = 'this form of the model is slow here';
    const told = (lines as [level: string, text: string, fields: object][]).filter(
      ([, found]) => found === text,
    );
    assert.deepEqual(told, [['warn', text, { model: 'small/1', ...slowForm }]]);
  });

  test('is the version that callers get, one for each model, and no other', async () => {
    const { metrics, catalog, lines, shown, work } = stand();
    const [first, second] = [lineOf('small', '1'), lineOf('small', '2', 'no driver')];
    catalog.modelServed(first);
    work('small');
    const before = await samplesOf(metrics);
    catalog.modelWithdrawn(first.model);
    catalog.modelServed(second);
    catalog.modelRetired(first.model);
    const after = await samplesOf(metrics);
    assert.deepEqual(
      after.filter((sample) => !before.includes(sample)),
      [
        'vitserve_model_info{model="small",version="2",execution_provider="cpu"} 1',
        'vitserve_execution_provider_fallback{model="small"} 1',
      ],
    );
    assert.deepEqual(
      before.filter((sample) => !after.includes(sample)),
      ['vitserve_model_info{model="small",version="1",execution_provider="cpu"} 1'],
    );
    assert.equal(shown.length, 3);
    assert.deepEqual(
      lines.map((line) => (line as unknown[]).slice(0, 2)),
      [
        ['info', 'model served'],
        ['warn', 'CUDA is not available: running on the CPU'],
        ['info', 'model served'],
        ['info', 'model retired'],
      ],
    );
  });

  test('has what batches cost now, of the version that callers get', async () => {
    const { metrics, catalog } = stand();
    const costs = [
      { batchSize: 1, milliseconds: 10 },
      { batchSize: 4, milliseconds: 22 },
    ];
    const [first, second] = [lineOf('small', '1', null, costs), lineOf('small', '2')];
    const shown = async () =>
      (await samplesOf(metrics)).filter((sample) => sample.startsWith('vitserve_batch_cost'));
    catalog.modelServed(first);
    assert.deepEqual(await shown(), [
      'vitserve_batch_cost_seconds{model="small",version="1",batch_size="1"} 0.01',
      'vitserve_batch_cost_seconds{model="small",version="1",batch_size="4"} 0.022',
    ]);
    catalog.modelWithdrawn(first.model);
    catalog.modelServed(second);
    assert.deepEqual(await shown(), []);
  });

  test('leaves no series of a model that is gone, and keeps those of one that has come back meanwhile', async () => {
    const { metrics, catalog, work } = stand();
    const line = lineOf('small', '1');
    catalog.modelServed(line);
    work('small');
    const served = await samplesOf(metrics);
    catalog.modelWithdrawn(line.model);
    catalog.modelServed(lineOf('small', '1'));
    catalog.modelRetired(line.model);
    assert.deepEqual(await samplesOf(metrics), served);
    catalog.modelWithdrawn(line.model);
    catalog.modelRetired(line.model);
    assert.deepEqual(await samplesOf(metrics), []);
    assert.doesNotMatch((await linesOf(metrics)).join('\n'), /model="small"/);
  });

  test('counts and logs what could not be loaded, and leaves nothing else of it', async () => {
    const { metrics, catalog, lines, work } = stand();
    work('new');
    catalog.modelFailed('new', '7', ['no graph', 'no labels']);
    assert.deepEqual(await samplesOf(metrics), ['vitserve_model_failures_total{model="new"} 1']);
    assert.deepEqual(lines, [
      [
        'error',
        'model not loaded: serving what was served before',
        { model: 'new', version: '7', problems: ['no graph', 'no labels'] },
      ],
    ]);
  });
});

describe('what the children report', () => {
  test('leaves nothing of a child that has ended as it was asked to, lost before or not', async () => {
    const metrics = createMetrics();
    const children = createChildObserver(metrics, createLog().log);
    children.childReady('inference', 0, 2 ** 30, 40);
    children.childStopped('inference', 0);
    children.childReady('inference', 1, 2 ** 30, 40);
    children.childLost('inference', 1, 2 ** 30, 'exit', 'exit code 1');
    children.childStopped('inference', 1);
    assert.doesNotMatch((await linesOf(metrics)).join('\n'), /^vitserve_process_ready\{/m);
  });

  test('is shown by role and index, and logged', async () => {
    const metrics = createMetrics();
    const { log, lines } = createLog();
    const children = createChildObserver(metrics, log);
    const gone = 2 ** 30;
    children.childReady('decoder', 1, gone, 40.4);
    children.childReady('inference', 0, gone, 40.4);
    children.childLost('decoder', 1, gone, 'timeout', 'no answer within 10 ms');
    assert.deepEqual(await samplesOf(metrics), [
      'vitserve_process_ready{role="inference",index="0"} 1',
      'vitserve_process_losses_total{role="decoder",cause="timeout"} 1',
    ]);
    assert.equal(lines.length, 3);
    assert.deepEqual(lines[2], [
      'warn',
      'process lost',
      { role: 'decoder', index: 1, pid: gone, cause: 'timeout', detail: 'no answer within 10 ms' },
    ]);
  });

  test('of their output becomes log lines without control sequences, of bounded length', () => {
    const { log, lines } = createLog();
    const children = createChildObserver(createMetrics(), log);
    children.childLine('inference', 0, '\u001b[31mred\u001b[0m');
    children.childLine('inference', 0, '\u001b[0m');
    children.childLine('inference', 0, 'x'.repeat(5_000));
    assert.deepEqual(lines, [
      ['warn', 'process output', { role: 'inference', index: 0, line: 'red' }],
      ['warn', 'process output', { role: 'inference', index: 0, line: 'x'.repeat(1_000) }],
    ]);
  });

  test('of CPU time and memory is read when the metrics are, and gone with the process', {
    skip: NO_PROC,
  }, async () => {
    const metrics = createMetrics();
    const children = createChildObserver(metrics, createLog().log);
    const usage = async () =>
      (await samplesOf(metrics)).filter((line) => /_process_(cpu|resident)/.test(line));
    children.childReady('inference', 0, process.pid, 40);
    const [cpu, memory, ...others] = await usage();
    assert.match(cpu ?? '', /^vitserve_process_cpu_seconds\{role="inference",index="0"\} \d/);
    assert.match(
      memory ?? '',
      /^vitserve_process_resident_memory_bytes\{role="inference",index="0"\} \d{7}/,
    );
    assert.deepEqual(others, []);
    children.childLost('inference', 0, process.pid, 'exit', 'exit code 1');
    assert.deepEqual(await usage(), []);
  });
});
