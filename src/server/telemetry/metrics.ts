/**
 * Every metric of vitserve, declared once. `docs/reference/metrics.md` has the same list; a
 * contract test holds the two together.
 *
 * Durations are seconds, sizes bytes. Labels have values from closed sets only (methods, gRPC
 * codes, reasons, stages, causes, process roles and indices), so callers cannot add series.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * 0.25 ms to 16 s, each bound 1.5 to 2 times the one before: fine where most requests are, coarse
 * where few should be.
 */
const SECONDS = [
  0.00025, 0.0005, 0.001, 0.0015, 0.0025, 0.004, 0.006, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15,
  0.25, 0.4, 0.6, 1, 2, 4, 8, 16,
];
const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

export type Metrics = ReturnType<typeof createMetrics>;

/** A set of metrics with a registry of its own. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const metrics = {
    registry,

    requests: new Counter({
      name: 'vitserve_requests_total',
      help: 'Calls that have ended, by method, gRPC code and reason (empty for OK and for statuses of the transport).',
      labelNames: ['method', 'code', 'reason'] as const,
      registers,
    }),
    requestDuration: new Histogram({
      name: 'vitserve_request_duration_seconds',
      help: 'From the arrival of a call to its status, by method. Streams count from their first byte to their end.',
      labelNames: ['method'] as const,
      buckets: SECONDS,
      registers,
    }),
    streamImages: new Counter({
      name: 'vitserve_stream_images_total',
      help: 'Images of streams that were answered, by gRPC code and reason.',
      labelNames: ['code', 'reason'] as const,
      registers,
    }),
    decodeDuration: new Histogram({
      name: 'vitserve_decode_duration_seconds',
      help: 'Decoding, resizing and cropping of one image in a decoder process, by image format and decoder.',
      labelNames: ['format', 'decoder'] as const,
      buckets: SECONDS,
      registers,
    }),
    queueDuration: new Histogram({
      name: 'vitserve_queue_duration_seconds',
      help: 'All waiting of one answered image: for a decoder, for a batch, and on the way between processes.',
      buckets: SECONDS,
      registers,
    }),
    inferenceDuration: new Histogram({
      name: 'vitserve_inference_duration_seconds',
      help: 'One execution of a batch in an inference process, by model.',
      labelNames: ['model'] as const,
      buckets: SECONDS,
      registers,
    }),
    batchSize: new Histogram({
      name: 'vitserve_batch_size',
      help: 'Images executed together, by model.',
      labelNames: ['model'] as const,
      buckets: BATCH_SIZES,
      registers,
    }),
    batchCost: new Gauge({
      name: 'vitserve_batch_cost_seconds',
      help: 'What a batch of this size costs now, by model and version: the figure that deadlines are checked against.',
      labelNames: ['model', 'version', 'batch_size'] as const,
      registers,
    }),
    deadlineSlack: new Histogram({
      name: 'vitserve_deadline_slack_seconds',
      help: 'Time left to the deadline when an image with one was answered.',
      buckets: SECONDS,
      registers,
    }),
    dropped: new Counter({
      name: 'vitserve_dropped_images_total',
      help: 'Images not worked on because their caller had left or their deadline had passed or was out of reach, by stage and cause.',
      labelNames: ['stage', 'cause'] as const,
      registers,
    }),
    retries: new Counter({
      name: 'vitserve_retries_total',
      help: 'Images given to another process because theirs was lost, by stage.',
      labelNames: ['stage'] as const,
      registers,
    }),
    quarantined: new Counter({
      name: 'vitserve_quarantined_images_total',
      help: 'Images found to end the processes that work on them, by stage.',
      labelNames: ['stage'] as const,
      registers,
    }),
    queueLength: new Gauge({
      name: 'vitserve_queue_length',
      help: 'Images that wait for a process, by stage (decode, batch) and, where it has one, model.',
      labelNames: ['stage', 'model'] as const,
      registers,
    }),
    permitsLimit: new Gauge({
      name: 'vitserve_permits_limit',
      help: 'Images that may be worked on at a time.',
      registers,
    }),
    permitsInUse: new Gauge({
      name: 'vitserve_permits_in_use',
      help: 'Images that are being worked on.',
      registers,
    }),
    uploads: new Gauge({
      name: 'vitserve_uploads_in_flight',
      help: 'Unary image calls whose body has not arrived in full.',
      registers,
    }),
    rejectionsHeld: new Gauge({
      name: 'vitserve_held_rejections',
      help: 'Calls whose rejection is held back now, because callers call again at once.',
      registers,
    }),
    rejectionsHeldBack: new Counter({
      name: 'vitserve_held_rejections_total',
      help: 'Rejections that were held back, because callers call again at once.',
      registers,
    }),
    connections: new Gauge({
      name: 'vitserve_connections_in_use',
      help: 'Open connections to the gRPC port.',
      registers,
    }),
    connectionsRefused: new Counter({
      name: 'vitserve_connections_refused_total',
      help: 'Connections ended before they could carry a call, by cause (limit, handshake_timeout, tls, client_certificate, protocol).',
      labelNames: ['cause'] as const,
      registers,
    }),
    credentialReloads: new Counter({
      name: 'vitserve_credential_reloads_total',
      help: 'Looks at files of credentials (certificate, tokens) that found new content, by result (loaded, kept).',
      labelNames: ['kind', 'result'] as const,
      registers,
    }),
    certificateExpiry: new Gauge({
      name: 'vitserve_tls_certificate_expiry_timestamp_seconds',
      help: 'When the certificates in use end (server, client_ca), the first one of each file, since the epoch.',
      labelNames: ['certificate'] as const,
      registers,
    }),
    traceSpans: new Counter({
      name: 'vitserve_trace_spans_total',
      help: 'Spans of traces that were sent, by result (exported, failed).',
      labelNames: ['result'] as const,
      registers,
    }),
    logLinesDropped: new Counter({
      name: 'vitserve_log_lines_dropped_total',
      help: 'Log lines that could not be written, by cause (unread, no_space, closed, error).',
      labelNames: ['cause'] as const,
      registers,
    }),
    slotBytes: new Gauge({
      name: 'vitserve_slot_bytes',
      help: 'Shared memory reserved for pixel slots.',
      registers,
    }),
    state: new Gauge({
      name: 'vitserve_state',
      help: '1 for the state of the server, 0 for the others.',
      labelNames: ['state'] as const,
      registers,
    }),
    modelInfo: new Gauge({
      name: 'vitserve_model_info',
      help: 'Always 1: the model that is served, its version and the execution provider that really runs it.',
      labelNames: ['model', 'version', 'execution_provider'] as const,
      registers,
    }),
    providerFallback: new Gauge({
      name: 'vitserve_execution_provider_fallback',
      help: '1 if execution-provider auto did not get CUDA and runs on the CPU instead, by model.',
      labelNames: ['model'] as const,
      registers,
    }),
    modelFailures: new Counter({
      name: 'vitserve_model_failures_total',
      help: 'Versions of a model that could not be loaded while serving, by model; empty for the repository itself.',
      labelNames: ['model'] as const,
      registers,
    }),
    processReady: new Gauge({
      name: 'vitserve_process_ready',
      help: '1 if the child process takes calls, by role (decoder, inference) and index.',
      labelNames: ['role', 'index'] as const,
      registers,
    }),
    processLosses: new Counter({
      name: 'vitserve_process_losses_total',
      help: 'Child processes that ended without being asked to, by role and cause (exit, signal, timeout, cpu, protocol, start).',
      labelNames: ['role', 'cause'] as const,
      registers,
    }),
    processCpu: new Gauge({
      name: 'vitserve_process_cpu_seconds',
      help: 'User and system CPU time of the child process that runs now, by role and index.',
      labelNames: ['role', 'index'] as const,
      registers,
    }),
    processMemory: new Gauge({
      name: 'vitserve_process_resident_memory_bytes',
      help: 'Resident memory of the child process that runs now, by role and index.',
      labelNames: ['role', 'index'] as const,
      registers,
    }),
  };
  beginAtZero(metrics);
  return metrics;
}

/**
 * Creates the series of events that should never happen at the start: for Prometheus, a counter
 * that appears with its first event has not increased.
 */
function beginAtZero({
  dropped,
  quarantined,
  retries,
  connectionsRefused,
  processLosses,
}: Pick<
  Metrics,
  'dropped' | 'quarantined' | 'retries' | 'connectionsRefused' | 'processLosses'
>): void {
  for (const stage of ['decode', 'batch']) {
    retries.inc({ stage }, 0);
    quarantined.inc({ stage }, 0);
    for (const cause of ['cancelled', 'expired', 'unreachable']) dropped.inc({ stage, cause }, 0);
  }
  for (const cause of ['limit', 'handshake_timeout', 'tls', 'client_certificate', 'protocol'])
    connectionsRefused.inc({ cause }, 0);
  for (const role of ['decoder', 'inference']) {
    for (const cause of ['exit', 'signal', 'timeout', 'cpu', 'protocol', 'start'])
      processLosses.inc({ role, cause }, 0);
  }
}
