/**
 * Watches a server from outside while it is under load: Health Check and /metrics as probes call
 * them, memory and descriptors of the process tree, and the server's own figures of its event loop.
 *
 * It runs in a thread of its own, so that a late answer is the server's delay and not that of the
 * load. It costs four checks a second, and one reading of /proc an interval.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { systemClock } from '#vitserve/clock.js';
import { CallFailure, PlainClient } from '../../support/grpc-client.js';
import { descriptorsOf, memoryOf, treeOf } from '../../support/process-tree.js';
import { OwnScope, type Scope, sumOfSeries } from '../../support/server.js';

export interface ObserverOptions {
  readonly address: string;
  /** `host:port` of /metrics; null without one. */
  readonly http: string | null;
  readonly pid: number;
  /**
   * How often memory and /metrics are read; the server's figures of its event loop cover this time.
   */
  readonly everyMs: number;
}

/** One look at the process tree and at /metrics. */
export interface Sample {
  readonly at: number;
  /** MiB, all processes, and the front alone. */
  readonly memoryMib: number | null;
  readonly frontMib: number | null;
  readonly frontDescriptors: number | null;
  readonly processes: number;
  /** From /metrics; null without it, or if it did not answer. */
  readonly server: ServerSample | null;
}

export interface ServerSample {
  readonly tookMs: number;
  /** Since the sample before. */
  readonly loopDelayMs: { readonly p99: number; readonly max: number };
  readonly handles: number;
  readonly losses: number;
}

export interface Check {
  readonly at: number;
  readonly tookMs: number;
  /** SERVING, NOT_SERVING, or the status that it failed with. */
  readonly status: string;
}

export type Sight = { readonly sample: Sample } | { readonly check: Check };

const CHECK_EVERY_MS = 250;
const PATIENCE_MS = 10_000;
/** prom-client samples every 10 ms, and counts that time as delay. */
const LOOP_RESOLUTION_MS = 10;

/**
 * Starts watching; `onSight` gets the samples. Ends with the scope, or when the result is called.
 */
export function observe(
  scope: Scope,
  options: ObserverOptions,
  onSight: (sight: Sight) => void,
): () => Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: options });
  worker.on('message', onSight);
  let ended: Promise<void> | null = null;
  const end = () => {
    ended ??= worker.terminate().then(() => {});
    return ended;
  };
  scope.after(end);
  return end;
}

async function watch({ address, http, pid, everyMs }: ObserverOptions): Promise<void> {
  const client = new PlainClient(new OwnScope(), address);
  const say = (sight: Sight) => parentPort?.postMessage(sight);
  const check = async () => {
    const since = performance.now();
    const status = await client.check('', { timeoutMs: PATIENCE_MS }).catch((error: unknown) => {
      return error instanceof CallFailure ? error.code : String(error);
    });
    say({ check: { at: systemClock.now(), tookMs: performance.now() - since, status } });
  };
  const look = async () =>
    say({ sample: { ...readTree(pid), server: http === null ? null : await readMetrics(http) } });
  every(CHECK_EVERY_MS, check);
  every(everyMs, look);
}

/** One after another: a slow one delays the next. */
function every(periodMs: number, look: () => Promise<void>): void {
  const next = async () => {
    const since = performance.now();
    await look();
    setTimeout(next, Math.max(0, periodMs - (performance.now() - since)));
  };
  void next();
}

function readTree(pid: number): Omit<Sample, 'server'> {
  const tree = treeOf(pid);
  return {
    at: systemClock.now(),
    memoryMib: memoryOf(tree),
    frontMib: memoryOf([pid]),
    frontDescriptors: descriptorsOf(pid),
    processes: tree.length,
  };
}

async function readMetrics(http: string): Promise<ServerSample | null> {
  const since = performance.now();
  try {
    const response = await fetch(`http://${http}/metrics`, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await response.text();
    const tookMs = performance.now() - since;
    const delay = (name: string) =>
      Math.max(
        0,
        sumOfSeries(text, `nodejs_eventloop_lag_${name}_seconds`) * 1_000 - LOOP_RESOLUTION_MS,
      );
    return {
      tookMs,
      loopDelayMs: { p99: delay('p99'), max: delay('max') },
      handles: sumOfSeries(text, 'nodejs_active_handles_total'),
      losses: sumOfSeries(text, 'vitserve_process_losses_total'),
    };
  } catch {
    return null;
  }
}

if (!isMainThread && workerData !== null) void watch(workerData as ObserverOptions);
