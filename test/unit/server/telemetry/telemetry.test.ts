/** The whole exposition, with the numbers masked where they don't matter, and the log. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Gauges, ServerEvent } from '#vitserve/server/telemetry/events.js';
import type { Logger } from '#vitserve/server/telemetry/log.js';
import { CallRecord, type ImageRecord, newImageRecord } from '#vitserve/server/telemetry/record.js';
import { Telemetry } from '#vitserve/server/telemetry/telemetry.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { EXPOSITION } from './exposition.js';

const NO_PROC = existsSync('/proc/self/stat') ? false : 'this system has no /proc';

const GAUGES: Gauges = {
  state: '',
  permitsLimit: 0,
  permitsInUse: 0,
  uploads: 0,
  heldRejections: 0,
  connections: 0,
  slotBytes: 0,
  decodeQueue: 0,
  models: [],
};

/** Telemetry over a log that remembers level, text and fields. */
function createStand(now = 0) {
  const lines: (readonly [level: string, text: string, fields: object])[] = [];
  const at = (level: string) => (fields: object, text: string) => lines.push([level, text, fields]);
  // What is said of every call is for debugging, and not collected here.
  const log = {
    debug: () => {},
    isLevelEnabled: () => false,
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  } as unknown as Logger;
  const telemetry = new Telemetry({
    log,
    clock: new FakeClock(now),
    tracing: null,
    logSample: 0,
    service: 'v1.Service',
    droppedLogLines: { unread: 0, no_space: 0, closed: 0, error: 0 },
  });
  /** Lines of the exposition that are vitserve's own. */
  const linesOf = async (gauges: Partial<Gauges> = {}) => {
    const text = await telemetry.exposition({ ...GAUGES, ...gauges });
    return text.split('\n').filter((line) => /^(# (HELP|TYPE) )?vitserve_/.test(line));
  };
  /** Samples that are not zero, without buckets. */
  const samples = async (gauges: Partial<Gauges> = {}) =>
    (await linesOf(gauges)).filter(
      (line) => !line.startsWith('#') && !/_bucket\{/.test(line) && !line.endsWith(' 0'),
    );
  const report = (...events: readonly ServerEvent[]) => {
    for (const event of events) telemetry.report(event);
  };
  return { telemetry, lines, report, linesOf, samples };
}

const DECODED: ImageRecord['decoded'] = {
  at: 1_003,
  decodeMs: 1.5,
  format: 'jpeg',
  decoder: 'turbojpeg',
};

/** An image that was admitted at 1,000 and executed at 1,011.5. */
const answered = (expiresAt = Number.POSITIVE_INFINITY): readonly ServerEvent[] => {
  const decoded = { ...newImageRecord(1_000, expiresAt), decoded: DECODED };
  const executed = { at: 1_011.5, executionMs: 8, batchSize: 4 };
  return [
    { kind: 'image-decoded', image: decoded },
    { kind: 'image-executed', image: { ...decoded, executed } },
  ];
};

const ended = (
  method: string,
  arrivedAt: number,
  code = 'OK',
  reason: 'OVERLOADED' | null = null,
): ServerEvent => ({
  kind: 'call-ended',
  call: new CallRecord(`/v1.Service/${method}`, arrivedAt),
  code,
  reason,
});

describe('the exposition', () => {
  test('of a server after one image has exactly these names, texts and series', async () => {
    const { report, linesOf } = createStand();
    report(
      { kind: 'batch-executed', model: 'small', batchSize: 4, executionMs: 8 },
      ...answered(1_041.5),
      ended('Classify', 0),
    );
    const models = [{ name: 'small', version: '1', queue: 0, costs: [] }];
    const masked = (await linesOf({ decodeQueue: 1, models })).map((sample) =>
      sample.startsWith('#')
        ? sample
        : sample.replace(/\ble="[^"]*"/, 'le="*"').replace(/ \S+$/, ' N'),
    );
    const withoutRepeats = masked.filter((sample, at) => sample !== masked[at - 1]);
    assert.equal(withoutRepeats.join('\n'), EXPOSITION.trim());
  });

  test('has bounds from a quarter of a millisecond to 16 seconds, and batches up to 256', async () => {
    const { report, linesOf } = createStand();
    const boundsOf = async (name: string) =>
      (await linesOf()).flatMap((line) => {
        const [, bound] = new RegExp(`^${name}_bucket\\{le="([^"]*)"`).exec(line) ?? [];
        return bound === undefined || bound === '+Inf' ? [] : [Number(bound)];
      });
    const seconds = await boundsOf('vitserve_queue_duration_seconds');
    assert.deepEqual([seconds[0], seconds.at(-1)], [0.00025, 16]);
    for (const [at, bound] of seconds.slice(1).entries()) {
      const growth = bound / (seconds[at] ?? 0);
      assert.ok(growth >= 1.49 && growth <= 2, `${bound} is ${growth} times the bound before`);
    }
    report({ kind: 'batch-executed', model: 'small', batchSize: 1, executionMs: 1 });
    assert.deepEqual(await boundsOf('vitserve_batch_size'), [1, 2, 4, 8, 16, 32, 64, 128, 256]);
  });

  test('of one server knows nothing of another', async () => {
    const [first, second] = [createStand(), createStand()];
    first.report({ kind: 'image-retried', stage: 'decode' });
    assert.deepEqual(await first.samples(), ['vitserve_retries_total{stage="decode"} 1']);
    assert.deepEqual(await second.samples(), []);
  });

  test('has the process metrics that every Node program has', async () => {
    const text = await createStand().telemetry.exposition(GAUGES);
    assert.match(text, /^process_cpu_seconds_total \d/m);
    assert.match(text, /^nodejs_eventloop_lag_seconds \d/m);
  });

  test('shows the current gauges', async () => {
    const { samples } = createStand();
    const costs = [
      { batchSize: 1, milliseconds: 10 },
      { batchSize: 4, milliseconds: 22 },
    ];
    const gauges: Gauges = {
      state: 'serving',
      permitsLimit: 3,
      permitsInUse: 2,
      uploads: 1,
      heldRejections: 4,
      connections: 5,
      slotBytes: 6,
      decodeQueue: 7,
      models: [{ name: 'small', version: '1', queue: 8, costs }],
    };
    assert.deepEqual(await samples(gauges), [
      'vitserve_batch_cost_seconds{model="small",version="1",batch_size="1"} 0.01',
      'vitserve_batch_cost_seconds{model="small",version="1",batch_size="4"} 0.022',
      'vitserve_queue_length{stage="decode",model=""} 7',
      'vitserve_queue_length{stage="batch",model="small"} 8',
      'vitserve_permits_limit 3',
      'vitserve_permits_in_use 2',
      'vitserve_uploads_in_flight 1',
      'vitserve_held_rejections 4',
      'vitserve_connections_in_use 5',
      'vitserve_slot_bytes 6',
      'vitserve_state{state="serving"} 1',
    ]);
    assert.deepEqual(await samples(), []);
  });
});

describe('what images report', () => {
  test('is counted, in seconds', async () => {
    const { report, samples } = createStand();
    report(
      { kind: 'batch-executed', model: 'small', batchSize: 4, executionMs: 250 },
      ...answered(1_511.5),
      ...answered().slice(0, 1),
      { kind: 'image-dropped', stage: 'batch', cause: 'expired' },
      { kind: 'image-dropped', stage: 'batch', cause: 'expired' },
      { kind: 'image-retried', stage: 'decode' },
      { kind: 'image-retried', stage: 'batch' },
      { kind: 'rejection-held' },
    );
    assert.deepEqual(await samples(), [
      'vitserve_decode_duration_seconds_sum{format="jpeg",decoder="turbojpeg"} 0.003',
      'vitserve_decode_duration_seconds_count{format="jpeg",decoder="turbojpeg"} 2',
      'vitserve_queue_duration_seconds_sum 0.002',
      'vitserve_queue_duration_seconds_count 1',
      'vitserve_inference_duration_seconds_sum{model="small"} 0.25',
      'vitserve_inference_duration_seconds_count{model="small"} 1',
      'vitserve_batch_size_sum{model="small"} 4',
      'vitserve_batch_size_count{model="small"} 1',
      'vitserve_deadline_slack_seconds_sum 0.5',
      'vitserve_deadline_slack_seconds_count 1',
      'vitserve_dropped_images_total{stage="batch",cause="expired"} 2',
      'vitserve_retries_total{stage="decode"} 1',
      'vitserve_retries_total{stage="batch"} 1',
      'vitserve_held_rejections_total 1',
    ]);
  });

  test('that end processes is counted and logged, by hash and size alone', async () => {
    const { report, samples, lines } = createStand();
    report({ kind: 'image-quarantined', stage: 'decode', sha256: 'abc', bytes: 9 });
    const fields = { stage: 'decode', sha256: 'abc', bytes: 9 };
    assert.deepEqual(lines, [['warn', 'quarantined image', fields]]);
    assert.deepEqual(await samples(), ['vitserve_quarantined_images_total{stage="decode"} 1']);
  });
});

describe('what connections and credentials report', () => {
  const refused = (detail: string, cause: 'limit' | 'protocol'): ServerEvent => ({
    kind: 'connection-refused',
    cause,
    peer: '10.0.0.1:5',
    detail,
  });

  test('is counted by cause, without a line that any client could repeat', async () => {
    const { report, samples, lines } = createStand();
    report(refused('full', 'limit'), refused('full', 'limit'));
    assert.deepEqual(await samples(), ['vitserve_connections_refused_total{cause="limit"} 2']);
    assert.deepEqual(lines, []);
  });

  test('of callers with another protocol is logged once for each', async () => {
    const { report, samples, lines } = createStand();
    for (const detail of ['TLS', 'TLS', 'HTTP/1.1']) report(refused(detail, 'protocol'));
    assert.deepEqual(await samples(), ['vitserve_connections_refused_total{cause="protocol"} 3']);
    assert.equal(lines.length, 2);
  });

  test('shows when certificates end; what is wrong with new ones is counted each time and logged once', async () => {
    const { report, samples, lines } = createStand();
    const detail = {
      fingerprint256: 'AB:CD',
      expiresAt: 1_800_000_000_000,
      clientCaExpiresAt: 1_900_000_000_000,
    };
    report(
      { kind: 'credentials-loaded', of: 'certificate', detail },
      { kind: 'credentials-loaded', of: 'tokens', detail: { tokens: 2 } },
    );
    for (const problems of [['damaged'], ['damaged'], ['expired', 'damaged'], ['damaged']])
      report({ kind: 'credentials-kept', of: 'certificate', problems });
    assert.deepEqual(await samples(), [
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

test('calls are counted by method, code and reason, and so are images of streams', async () => {
  const { report, samples } = createStand(1_000);
  const call = new CallRecord('/v1.Service/ClassifyStream', 1_000);
  const image = newImageRecord(1_000);
  report(
    ended('Classify', 750),
    ended('Classify', 1_000, 'RESOURCE_EXHAUSTED', 'OVERLOADED'),
    { kind: 'stream-image-ended', call, image, code: 'OK', reason: null },
    {
      kind: 'stream-image-ended',
      call,
      image,
      code: 'INVALID_ARGUMENT',
      reason: 'IMAGE_EMPTY',
    },
  );
  assert.deepEqual(await samples(), [
    'vitserve_requests_total{method="Classify",code="OK",reason=""} 1',
    'vitserve_requests_total{method="Classify",code="RESOURCE_EXHAUSTED",reason="OVERLOADED"} 1',
    'vitserve_request_duration_seconds_sum{method="Classify"} 0.25',
    'vitserve_request_duration_seconds_count{method="Classify"} 2',
    'vitserve_stream_images_total{code="OK",reason=""} 1',
    'vitserve_stream_images_total{code="INVALID_ARGUMENT",reason="IMAGE_EMPTY"} 1',
  ]);
});

test('changes of permits are logged', () => {
  const { report, lines } = createStand();
  report(
    { kind: 'permits-corrected', permits: 400, imagesPerSecond: 99.6 },
    { kind: 'permits-short', permits: 75, short: 'shared memory' },
  );
  assert.deepEqual(lines, [
    ['info', 'permits corrected', { permits: 400, imagesPerSecond: 100 }],
    ['warn', 'fewer permits than would be good', { permits: 75, short: 'shared memory' }],
  ]);
});

describe('what the catalog reports', () => {
  const modelOf = (name: string, version: string, fallbackReason: string | null = null) => ({
    name,
    version,
    executionProvider: 'cpu',
    fallbackReason,
    slowForm: null,
    maxBatchSize: 4,
  });
  type Model = ReturnType<typeof modelOf>;
  const served = (model: Model): ServerEvent => ({ kind: 'model-served', model, processes: 2 });
  const withdrawn = (model: Model): ServerEvent => ({ kind: 'model-withdrawn', model });
  const retired = (model: Model): ServerEvent => ({ kind: 'model-retired', model });
  const worked = (model: string): ServerEvent => ({
    kind: 'batch-executed',
    model,
    batchSize: 2,
    executionMs: 500,
  });

  test('names a form that is slow on this machine, and what helps', () => {
    const { report, lines } = createStand();
    const slowForm = { reason: 'too wide', remedy: 'make it narrow' };
    const model = { ...modelOf('small', '1'), slowForm };
    report({ kind: 'model-served', model, processes: 2 }, served(modelOf('large', '1')));
    const text = 'this form of the model is slow here';
    assert.deepEqual(
      lines.filter(([, found]) => found === text),
      [['warn', text, { model: 'small/1', ...slowForm }]],
    );
  });

  test('is the version that callers get, one for each model, and no other', async () => {
    const { report, samples, lines } = createStand();
    const [first, second] = [modelOf('small', '1'), modelOf('small', '2', 'no driver')];
    report(served(first), worked('small'));
    const before = await samples();
    report(withdrawn(first), served(second), retired(first));
    const after = await samples();
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
    assert.deepEqual(
      lines.map(([level, text]) => [level, text]),
      [
        ['info', 'model served'],
        ['warn', 'CUDA is not available: running on the CPU'],
        ['info', 'model served'],
        ['info', 'model retired'],
      ],
    );
  });

  test('leaves no series of a model that is gone, and keeps those of one that has come back meanwhile', async () => {
    const { report, samples, linesOf } = createStand();
    const model = modelOf('small', '1');
    report(served(model), worked('small'));
    const before = await samples();
    report(withdrawn(model), served(modelOf('small', '1')), retired(model));
    assert.deepEqual(await samples(), before);
    report(withdrawn(model), retired(model));
    assert.deepEqual(await samples(), []);
    assert.doesNotMatch((await linesOf()).join('\n'), /model="small"/);
  });

  test('counts and logs what could not be loaded, and leaves nothing else of it', async () => {
    const { report, samples, lines } = createStand();
    const problems = ['no graph', 'no labels'];
    report(worked('new'), { kind: 'model-failed', name: 'new', version: '7', problems });
    assert.deepEqual(await samples(), ['vitserve_model_failures_total{model="new"} 1']);
    const text = 'model not loaded: serving what was served before';
    assert.deepEqual(lines, [['error', text, { model: 'new', version: '7', problems }]]);
  });
});

describe('what the children report', () => {
  const INFERENCE = { role: 'inference', index: 0 } as const;
  const DECODER = { role: 'decoder', index: 1 } as const;
  const GONE = 2 ** 30;
  const lost = { kind: 'child-lost', pid: GONE, cause: 'exit', detail: 'exit code 1' } as const;
  const ready = (pid: number) => ({ kind: 'child-ready', pid, startMs: 40.4 }) as const;

  test('leaves nothing of a stopped child, lost before or not', async () => {
    const { report, linesOf } = createStand();
    report({ ...INFERENCE, ...ready(GONE) }, { ...INFERENCE, kind: 'child-stopped' });
    report({ ...DECODER, ...ready(GONE) }, { ...DECODER, ...lost });
    report({ ...DECODER, kind: 'child-stopped' });
    assert.doesNotMatch((await linesOf()).join('\n'), /^vitserve_process_ready\{/m);
  });

  test('is shown by role and index, and logged', async () => {
    const { report, samples, lines } = createStand();
    const timeout = { ...lost, cause: 'timeout', detail: 'no answer within 10 ms' } as const;
    report({ ...DECODER, ...ready(GONE) }, { ...INFERENCE, ...ready(GONE) });
    report({ ...DECODER, kind: 'child-killed' }, { ...DECODER, ...timeout });
    assert.deepEqual(await samples(), [
      'vitserve_process_ready{role="inference",index="0"} 1',
      'vitserve_process_losses_total{role="decoder",cause="timeout"} 1',
    ]);
    assert.equal(lines.length, 3);
    const { cause, detail } = timeout;
    assert.deepEqual(lines[2], ['warn', 'process lost', { ...DECODER, pid: GONE, cause, detail }]);
  });

  test('of their output becomes log lines without control sequences, of bounded length', () => {
    const { report, lines } = createStand();
    for (const line of ['\u001b[31mred\u001b[0m', '\u001b[0m', 'x'.repeat(5_000)])
      report({ ...INFERENCE, kind: 'child-line', line });
    assert.deepEqual(lines, [
      ['warn', 'process output', { ...INFERENCE, line: 'red' }],
      ['warn', 'process output', { ...INFERENCE, line: 'x'.repeat(1_000) }],
    ]);
  });

  test('of CPU time and memory is read when the metrics are, and gone with the process', {
    skip: NO_PROC,
  }, async () => {
    const { report, samples } = createStand();
    const usage = async () =>
      (await samples()).filter((line) => /_process_(cpu|resident)/.test(line));
    report({ ...INFERENCE, ...ready(process.pid) });
    const [cpu, memory, ...others] = await usage();
    assert.match(cpu ?? '', /^vitserve_process_cpu_seconds\{role="inference",index="0"\} \d/);
    assert.match(
      memory ?? '',
      /^vitserve_process_resident_memory_bytes\{role="inference",index="0"\} \d{7}/,
    );
    assert.deepEqual(others, []);
    report({ ...INFERENCE, ...lost });
    assert.deepEqual(await usage(), []);
  });
});
