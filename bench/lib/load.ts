/** A server under load as `vitserve bench` makes it, with what its metrics say of that time. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Load } from '#vitserve/client/bench/load.js';
import { type Measurement, measure } from '#vitserve/client/bench/measure.js';
import { Target } from '#vitserve/client/bench/target.js';
import { VitserveClient } from '#vitserve/client/client.js';
import { systemClock } from '#vitserve/clock.js';
import { BareTarget } from './bare-target.js';
import { type BenchServer, type Samples, total } from './server.js';

export interface LoadSettings {
  readonly seconds: number;
  readonly warmUpSeconds?: number;
  readonly connections?: number;
  readonly timeoutMs?: number;
  /** Callers that cost next to nothing, which tell no reasons (bare-target.ts). */
  readonly bare?: boolean;
}

export interface LoadedServer extends Omit<Measurement, 'latencyMs'> {
  readonly latencyMs: NonNullable<Measurement['latencyMs']>;
  /** Calls that were not answered, by reason. */
  readonly errors: Readonly<Record<string, number>>;
  readonly before: Samples;
  readonly after: Samples;
  /** What a metric grew by; `label` as in `total`. */
  readonly grown: (name: string, label?: string) => number;
  /** Seconds between the two readings of the metrics. */
  readonly elapsed: number;
  /** Cores' worth of CPU time. */
  readonly cores: CpuOfServer;
  /** CPU-ms: of the server for each image executed, of this program for each call. */
  readonly cpuMs: CpuOfServer & { readonly callers: number };
  readonly meanBatch: number;
}

type CpuOfServer = Readonly<Record<'front' | 'decoders' | 'inference', number>>;
const NO_LATENCY = { mean: NaN, p50: NaN, p90: NaN, p99: NaN, p999: NaN, max: NaN };

/** One message a photo. */
export function encoded(images: readonly Uint8Array[]): Buffer[] {
  return images.map((image) => VitserveClient.encodeClassify({ image, model: '', topK: 5 }));
}

/** Retries are off, and deadlines far unless told otherwise. */
export async function underLoad(
  server: BenchServer,
  images: readonly Uint8Array[],
  load: Load,
  settings: LoadSettings,
): Promise<LoadedServer> {
  const { seconds, warmUpSeconds = 1, connections = 1, timeoutMs = 60_000, bare } = settings;
  const { address } = server;
  const target = bare
    ? new BareTarget({ address, messages: encoded(images), timeoutMs })
    : new Target({ address, connections, images, model: '', topK: 5, timeoutMs });
  const begin = sleep(warmUpSeconds * 1000).then(async () => ({
    at: performance.now(),
    before: await server.metrics(),
  }));
  const measurement = await measure({
    load,
    send: target.send,
    warmUpMs: warmUpSeconds * 1000,
    durationMs: seconds * 1000,
    timeoutMs,
    clock: systemClock,
    signal: new AbortController().signal,
  });
  const { at, before } = await begin;
  const elapsed = (performance.now() - at) / 1000;
  const after = await server.metrics();
  target.close();

  const grown = (name: string, label = '') =>
    total(after, name, label) - total(before, name, label);
  const processSeconds = (role: string) => grown('vitserve_process_cpu_seconds', `role="${role}"`);
  const spent = {
    front: grown('process_cpu_seconds_total'),
    decoders: processSeconds('decoder'),
    inference: processSeconds('inference'),
  };
  const each = (divisor: number): CpuOfServer => ({
    front: spent.front / divisor,
    decoders: spent.decoders / divisor,
    inference: spent.inference / divisor,
  });
  const executed = grown('vitserve_batch_size_sum');
  const failed = measurement.outcomes.filter(({ code }) => code !== 'OK');
  return {
    ...measurement,
    latencyMs: measurement.latencyMs ?? NO_LATENCY,
    errors: Object.fromEntries(failed.map(({ code, reason, calls }) => [reason || code, calls])),
    before,
    after,
    grown,
    elapsed,
    cores: each(elapsed),
    cpuMs: { ...each(executed / 1000), callers: measurement.generator.cpuMsPerCall ?? 0 },
    meanBatch: executed / grown('vitserve_batch_size_count'),
  };
}
