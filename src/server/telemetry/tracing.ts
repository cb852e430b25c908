/**
 * Traces: a span for each call of the service, and below it one for each of its stages, sent over
 * OTLP.
 *
 * This file, and with it all of OpenTelemetry, is loaded only where traces are exported. The span
 * of a call begins at its headers, so that the log has its identifiers. Stages become spans when
 * the call ends, from the times in its record. Spans are encoded and sent in batches between calls.
 * Spans that cannot be sent are dropped and counted, and logged at most once a minute.
 */
import {
  type Context,
  DiagLogLevel,
  diag,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { SamplerSettings, TracingSettings } from '../../cli/tracing.js';
import type { Clock } from '../../clock.js';
import { LineLimit } from './line-limit.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import type { CallTrace, Header, ImageRecord } from './record.js';
import { type Stage, stagesOfCall, stagesOfImage } from './stages.js';

/** Times are monotonic milliseconds. */
export interface Tracing {
  /** Begins the trace of a call. The sampler, or that of the caller, decides if it is recorded. */
  begin(service: string, method: string, at: number, header: Header): CallTrace;
  /** Sends the remaining spans, within `CLOSE_MS`. */
  close(): Promise<void>;
}

export interface TracingOptions {
  readonly settings: TracingSettings;
  readonly version: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

const CLOSE_MS = 2_000;
const WARNING_MS = 60_000;

/** Calls that have the stages of one image. */
const IMAGE_METHODS: ReadonlySet<string> = new Set(['Classify', 'Embed']);
/**
 * The codes that mean that the server failed:
 * https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
 */
const SERVER_FAULTS: ReadonlySet<string> = new Set([
  'UNKNOWN',
  'DEADLINE_EXCEEDED',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
]);

export function createTracing({ settings, version, log, metrics, clock }: TracingOptions): Tracing {
  for (const result of ['exported', 'failed']) metrics.traceSpans.inc({ result }, 0);
  const limit = new LineLimit({ clock, lines: 1, windowMs: WARNING_MS, onWithheld: () => {} });
  const warn = (detail: string) => {
    if (limit.allows(''))
      log.warn({ detail: detail.slice(0, 500) }, 'trouble with exporting traces');
  };
  // OpenTelemetry reports wrong variables of the exporter and dropped spans only here.
  const silent = () => {};
  diag.setLogger(
    { error: silent, warn, info: silent, debug: silent, verbose: silent },
    DiagLogLevel.WARN,
  );

  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': 'vitserve',
      'service.version': version,
    }).merge(detectResources({ detectors: [envDetector] })),
    sampler: samplerOf(settings.sampler),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: counted(new OTLPTraceExporter(), metrics, warn),
        maxQueueSize: settings.maxQueueSize,
        maxExportBatchSize: Math.min(settings.maxExportBatchSize, settings.maxQueueSize),
        scheduledDelayMillis: settings.scheduleDelayMs,
        exportTimeoutMillis: settings.exportTimeoutMs,
      }),
    ],
  });
  const tracer = provider.getTracer('vitserve', version);
  const propagator = new W3CTraceContextPropagator();
  const getter = { get: (header: Header, key: string) => header(key), keys: () => [] };

  /** `error`: what the last stage ended with. */
  const addStages = (
    stages: readonly Stage[],
    parent: Context,
    epoch: number,
    error: string | null,
  ) => {
    for (const [index, { name, from, to, attributes }] of stages.entries()) {
      const span = tracer.startSpan(name, { startTime: epoch + from, attributes }, parent);
      if (error !== null && index === stages.length - 1) span.setAttribute('error.type', error);
      span.end(epoch + to);
    }
  };

  const begin: Tracing['begin'] = (service, method, at, header) => {
    // For each call, because the wall clock may be set while the server runs.
    const epoch = Date.now() - clock.now();
    const name = `${service}/${method}`;
    const attributes = { 'rpc.system.name': 'grpc', 'rpc.method': name };
    const caller = propagator.extract(ROOT_CONTEXT, header, getter);
    const span = tracer.startSpan(
      name,
      { kind: SpanKind.SERVER, startTime: epoch + at, attributes },
      caller,
    );
    const context = trace.setSpan(ROOT_CONTEXT, span);
    const isSampled = span.isRecording();
    return {
      ...span.spanContext(),
      // Images of a cancelled stream end after their call.
      streamImage(image, reason, endedAt) {
        if (!isSampled) return;
        const child = tracer.startSpan('image', { startTime: epoch + image.cameAt }, context);
        describeImage(child, image);
        if (reason !== null)
          child.setAttributes({ 'vitserve.reason': reason, 'error.type': reason });
        addStages(stagesOfImage(image, endedAt), trace.setSpan(ROOT_CONTEXT, child), epoch, reason);
        child.end(epoch + endedAt);
      },
      end({ code, reason, requestId, image, at: endedAt }) {
        if (!isSampled) return;
        span.setAttributes({ 'rpc.response.status_code': code, 'vitserve.request_id': requestId });
        const error = code === 'OK' ? null : (reason ?? code);
        if (error !== null) span.setAttribute('error.type', error);
        if (reason !== null) span.setAttribute('vitserve.reason', reason);
        if (SERVER_FAULTS.has(code))
          span.setStatus({ code: SpanStatusCode.ERROR, message: error ?? code });
        if (image !== null) describeImage(span, image);
        if (IMAGE_METHODS.has(method))
          addStages(stagesOfCall(at, image, endedAt), context, epoch, error);
        span.end(epoch + endedAt);
      },
    };
  };

  return {
    begin,
    async close() {
      let cancel = () => {};
      const late = new Promise<void>((resolve) => {
        cancel = clock.after(CLOSE_MS, resolve);
      });
      await Promise.race([provider.shutdown().catch(silent), late]);
      cancel();
    },
  };
}

function describeImage(span: Span, { model, executed }: ImageRecord): void {
  if (model !== null) {
    span.setAttributes({
      'vitserve.model.name': model.name,
      'vitserve.model.version': model.version,
      'vitserve.execution_provider': model.executionProvider,
    });
  }
  if (executed !== null) span.setAttribute('vitserve.batch.size', executed.batchSize);
}

/** Counts the exported and the failed spans. */
function counted(
  exporter: SpanExporter,
  { traceSpans }: Metrics,
  warn: (detail: string) => void,
): SpanExporter {
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const sent = result.code === ExportResultCode.SUCCESS;
        traceSpans.inc({ result: sent ? 'exported' : 'failed' }, spans.length);
        if (!sent) warn(result.error?.message || 'no answer that says why');
        done(result);
      });
    },
    forceFlush: async () => await exporter.forceFlush?.(),
    shutdown: () => exporter.shutdown(),
  };
}

function samplerOf({ kind, parentBased, ratio }: SamplerSettings): Sampler {
  const root =
    kind === 'always_on'
      ? new AlwaysOnSampler()
      : kind === 'always_off'
        ? new AlwaysOffSampler()
        : new TraceIdRatioBasedSampler(ratio);
  return parentBased ? new ParentBasedSampler({ root }) : root;
}
