/**
 * Observes calls at a thousand a second and answers what that cost, for the benchmark `observing`.
 * Everything here is the build's own, so each build is measured by the program that was built with
 * it.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { pino } from 'pino';
import { readTracing } from '#vitserve/cli/tracing.js';
import { systemClock as clock } from '#vitserve/clock.js';
import { CallRecord, newImageRecord } from '#vitserve/server/telemetry/record.js';
import { Telemetry } from '#vitserve/server/telemetry/telemetry.js';
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
  const { settings } = readTracing({
    ...process.env,
    OTEL_BSP_MAX_QUEUE_SIZE: '100000',
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: String(batchSize),
  });
  const telemetry = await Telemetry.open(
    {
      log: pino({ level: 'silent' }),
      clock,
      logSample: 0,
      service: 'v1.Service',
      droppedLogLines: { unread: 0, no_space: 0, closed: 0, error: 0 },
    },
    batchSize === null ? null : settings,
    '0',
  );
  const { report } = telemetry;
  const flags = sampled ? '01' : '00';
  const traceparent = `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}`;

  const observeCall = () => {
    const now = clock.now();
    const call = new CallRecord('/v1.Service/Classify', now - 10);
    call.header = (key) => (key === 'traceparent' ? traceparent : undefined);
    call.isAuthenticated = true;
    report({ kind: 'call-authenticated', call });
    const image = newImageRecord(now - 9);
    call.image = image;
    image.model = model;
    image.decoded = { at: now - 6, decodeMs: 2, format: 'jpeg', decoder: 'turbojpeg' };
    report({ kind: 'image-decoded', image });
    report({ kind: 'batch-executed', model: model.name, batchSize: 1, executionMs: 4 });
    image.executed = { at: now - 1, executionMs: 4, batchSize: 1 };
    report({ kind: 'image-executed', image });
    report({ kind: 'call-ended', call, code: 'OK', reason: null });
  };
  await pace(seconds / 5, observeCall);
  const idle = await cpuUsOf(seconds / 4, () => {});
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const busy = await cpuUsOf(seconds, observeCall);
  delay.disable();
  await telemetry.close();
  return { cpuUs: busy - idle, p99Ms: delay.percentile(99) / 1e6, maxMs: delay.max / 1e6 };
});
