/**
 * Observes calls at a thousand a second and answers what that cost, for the benchmark `observing`.
 * Everything here is the build's own, so each build is measured by the program that was built with
 * it.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { pino } from 'pino';
import { readTracing } from '#vitserve/cli/tracing.js';
import { systemClock as clock } from '#vitserve/clock.js';
import { newImageRecord } from '#vitserve/server/pipeline/image-record.js';
import { createCallObserver } from '#vitserve/server/telemetry/calls.js';
import { createMetrics } from '#vitserve/server/telemetry/metrics.js';
import { createTracing } from '#vitserve/server/telemetry/tracing.js';
import { answerQuestions } from '../lib/children.js';

export interface ObserveQuestion {
  readonly seconds: number;
  /** Spans in one export; null: traces are off. */
  readonly batchSize: number | null;
  /** Whether the caller records the trace. */
  readonly sampled: boolean;
}

export interface ObserveAnswer {
  readonly cpuUs: number;
  /** How long the event loop was held. */
  readonly p99Ms: number;
  readonly maxMs: number;
}

const CALLS_A_MILLISECOND = 1;
const model = { name: 'small', version: '1', executionProvider: 'cpu' };

/** Calls `each` as often as is due, for so long; how often it was called. */
function pace(seconds: number, each: () => void): Promise<number> {
  return new Promise((resolve) => {
    const startedAt = performance.now();
    let made = 0;
    const timer = setInterval(() => {
      const elapsed = performance.now() - startedAt;
      for (; made < elapsed * CALLS_A_MILLISECOND; made++) each();
      if (elapsed < seconds * 1000) return;
      clearInterval(timer);
      resolve(made);
    }, 1);
  });
}

async function cpuUsOf(seconds: number, each: () => void): Promise<number> {
  const before = process.cpuUsage();
  const made = await pace(seconds, each);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / made;
}

await answerQuestions('ready', async (question: ObserveQuestion): Promise<ObserveAnswer> => {
  const { seconds, batchSize, sampled } = question;
  const metrics = createMetrics();
  const log = pino({ level: 'silent' });
  const { settings } = readTracing({
    ...process.env,
    OTEL_BSP_MAX_QUEUE_SIZE: '100000',
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: String(batchSize),
  });
  const tracing =
    batchSize === null || settings === null
      ? null
      : createTracing({ settings, version: '0', log, metrics, clock });
  const service = 'v1.Service';
  const calls = createCallObserver({ metrics, log, clock, tracing, logSample: 0, service });
  const flags = sampled ? '01' : '00';
  const traceparent = `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}`;

  const observeCall = () => {
    const now = clock.now();
    const call = calls.callBegan('/v1.Service/Classify', now - 10);
    call.headersReceived((key) => (key === 'traceparent' ? traceparent : undefined));
    call.authenticated();
    const image = newImageRecord(now - 9);
    call.imageReceived(image);
    image.model = model;
    image.decoded = { at: now - 6, decodeMs: 2, format: 'jpeg', decoder: 'turbojpeg' };
    image.executed = { at: now - 1, executionMs: 4, batchSize: 1 };
    call.ended('OK', null);
  };
  await pace(seconds / 5, observeCall);
  const idle = await cpuUsOf(seconds / 4, () => {});
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const busy = await cpuUsOf(seconds, observeCall);
  delay.disable();
  await tracing?.close();
  return { cpuUs: busy - idle, p99Ms: delay.percentile(99) / 1e6, maxMs: delay.max / 1e6 };
});
