/**
 * Turns the events of the server into metrics, log lines and spans, so that the serving code has
 * none of these.
 */
import type { TracingSettings } from '../../cli/tracing.js';
import { CallTelemetry, type CallTelemetryOptions } from './calls.js';
import { ChildTelemetry } from './children.js';
import type { CredentialKind, Gauges, Report, ServerEvent } from './events.js';
import { LOG_DROP_CAUSES, type LogDropCause } from './log-sink.js';
import { createMetrics, type Metrics } from './metrics.js';
import { ModelTelemetry } from './models.js';

export interface TelemetryOptions extends CallTelemetryOptions {
  /** Log lines dropped since the start, by cause. */
  readonly droppedLogLines: Readonly<Record<LogDropCause, number>>;
}

const STATES = ['starting', 'serving', 'draining', 'stopped', 'failed'];

export class Telemetry {
  readonly #metrics: Metrics;
  readonly #options: TelemetryOptions;
  readonly #calls: CallTelemetry;
  readonly #children: ChildTelemetry;
  readonly #models: ModelTelemetry;
  /** Foreign protocols of callers. Each is logged once. */
  readonly #protocols = new Set<string>();
  /** Problems of new credentials. Each is logged once. */
  readonly #credentialProblems = new Map<CredentialKind, string>();

  constructor(options: TelemetryOptions, metrics = createMetrics()) {
    this.#metrics = metrics;
    this.#options = options;
    this.#calls = new CallTelemetry(metrics, options);
    this.#children = new ChildTelemetry(metrics, options.log);
    this.#models = new ModelTelemetry(metrics, options.log);
  }

  /** Loads OpenTelemetry, only where traces are exported. */
  static async open(
    options: Omit<TelemetryOptions, 'tracing'>,
    settings: TracingSettings | null,
    version: string,
  ): Promise<Telemetry> {
    if (settings === null) return new Telemetry({ ...options, tracing: null });
    const { log, clock } = options;
    const { createTracing } = await import('./tracing.js');
    const metrics = createMetrics();
    const tracing = createTracing({ settings, version, log, metrics, clock });
    const { endpoint, sampler } = settings;
    log.info({ endpoint, sampler }, 'traces are exported');
    return new Telemetry({ ...options, tracing }, metrics);
  }

  readonly report: Report = (event) => {
    const { log } = this.#options;
    const metrics = this.#metrics;
    switch (event.kind) {
      case 'call-authenticated':
        return this.#calls.authenticated(event.call);
      case 'call-failed':
        return this.#calls.failed(event.call, event.cause);
      case 'call-ended':
        return this.#calls.ended(event);
      case 'stream-image-ended':
        return this.#calls.streamImageEnded(event);
      case 'image-decoded':
        return this.#calls.imageDecoded(event.image);
      case 'image-executed':
        return this.#calls.imageExecuted(event.image);
      case 'image-dropped':
        return metrics.dropped.inc({ stage: event.stage, cause: event.cause });
      case 'image-retried':
        return metrics.retries.inc({ stage: event.stage });
      case 'image-quarantined': {
        const { stage, sha256, bytes } = event;
        metrics.quarantined.inc({ stage });
        return log.warn({ stage, sha256, bytes }, 'quarantined image');
      }
      case 'batch-executed': {
        const { model, batchSize, executionMs } = event;
        metrics.batchSize.observe({ model }, batchSize);
        return metrics.inferenceDuration.observe({ model }, executionMs / 1000);
      }
      case 'permits-corrected': {
        const { permits, imagesPerSecond } = event;
        const rounded = Math.round(imagesPerSecond);
        return log.info({ permits, imagesPerSecond: rounded }, 'permits corrected');
      }
      case 'permits-short': {
        const { permits, short } = event;
        return log.warn({ permits, short }, 'fewer permits than would be good');
      }
      case 'rejection-held':
        return metrics.rejectionsHeldBack.inc();
      case 'model-served':
      case 'model-withdrawn':
      case 'model-retired':
      case 'model-failed':
        return this.#models.report(event);
      case 'connection-refused':
        return this.#onConnectionRefused(event);
      case 'credentials-loaded':
        return this.#onCredentialsLoaded(event);
      case 'credentials-kept':
        return this.#onCredentialsKept(event);
      case 'child-ready':
      case 'child-killed':
      case 'child-lost':
      case 'child-stopped':
      case 'child-line':
        return this.#children.report(event);
      default:
        return event satisfies never;
    }
  };

  /** All metrics in the text format of Prometheus. */
  async exposition(gauges: Gauges): Promise<string> {
    await this.#children.readUsage();
    this.#setGauges(gauges);
    return await this.#metrics.registry.metrics();
  }

  get contentType(): string {
    return this.#metrics.registry.contentType;
  }

  async close(): Promise<void> {
    await this.#options.tracing?.close();
  }

  #setGauges(gauges: Gauges): void {
    const metrics = this.#metrics;
    metrics.state.reset();
    for (const state of STATES) metrics.state.set({ state }, state === gauges.state ? 1 : 0);
    metrics.permitsLimit.set(gauges.permitsLimit);
    metrics.permitsInUse.set(gauges.permitsInUse);
    metrics.uploads.set(gauges.uploads);
    metrics.rejectionsHeld.set(gauges.heldRejections);
    metrics.connections.set(gauges.connections);
    metrics.slotBytes.set(gauges.slotBytes);
    metrics.queueLength.reset();
    metrics.queueLength.set({ stage: 'decode', model: '' }, gauges.decodeQueue);
    metrics.batchCost.reset();
    for (const { name: model, version, queue, costs } of gauges.models) {
      metrics.queueLength.set({ stage: 'batch', model }, queue);
      for (const { batchSize, milliseconds } of costs)
        metrics.batchCost.set({ model, version, batch_size: batchSize }, milliseconds / 1000);
    }
    metrics.logLinesDropped.reset();
    for (const cause of LOG_DROP_CAUSES)
      metrics.logLinesDropped.inc({ cause }, this.#options.droppedLogLines[cause]);
  }

  /**
   * Logs rejected connections at the debug level, because any client can cause them. A foreign
   * protocol is a mistake in some settings: each is logged once as a warning.
   */
  #onConnectionRefused(event: Extract<ServerEvent, { kind: 'connection-refused' }>): void {
    const { cause, peer, detail } = event;
    const { log } = this.#options;
    this.#metrics.connectionsRefused.inc({ cause });
    log.debug({ cause, peer, detail }, 'connection refused');
    if (cause !== 'protocol' || this.#protocols.has(detail)) return;
    this.#protocols.add(detail);
    log.warn({ peer, detail }, 'caller speaks another protocol');
  }

  #onCredentialsLoaded({ of: kind, detail }: Extract<ServerEvent, { kind: 'credentials-loaded' }>) {
    const { expiresAt, clientCaExpiresAt, ...about } = detail;
    this.#credentialProblems.delete(kind);
    this.#metrics.credentialReloads.inc({ kind, result: 'loaded' });
    const shown: Record<string, string> = {};
    for (const [certificate, at] of [
      ['server', expiresAt],
      ['client_ca', clientCaExpiresAt],
    ] as const) {
      if (typeof at !== 'number') continue;
      this.#metrics.certificateExpiry.set({ certificate }, at / 1000);
      shown[certificate] = new Date(at).toISOString();
    }
    const expires = kind === 'certificate' ? { expires: shown } : {};
    this.#options.log.info({ kind, ...about, ...expires }, 'credentials loaded');
  }

  #onCredentialsKept({ of: kind, problems }: Extract<ServerEvent, { kind: 'credentials-kept' }>) {
    this.#metrics.credentialReloads.inc({ kind, result: 'kept' });
    const text = problems.join('\n');
    if (this.#credentialProblems.get(kind) === text) return;
    this.#credentialProblems.set(kind, text);
    const { log } = this.#options;
    log.warn({ kind, problems }, 'credentials not loaded: those before stay in use');
  }
}
