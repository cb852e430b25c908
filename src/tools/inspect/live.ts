/**
 * The present state of a running server, read from its metrics: models and what their batches cost,
 * processes, load.
 *
 * Costs the server one scrape. It reads the server's own `/metrics`, so no other port has to be
 * open.
 */
import { messageOf, SetupError } from '../../errors.js';

export interface LiveModel {
  readonly name: string;
  readonly version: string;
  readonly executionProvider: string;
  /** Ascending sizes. */
  readonly batchCosts: readonly { readonly batchSize: number; readonly milliseconds: number }[];
  /** Images waiting for a batch. */
  readonly queueLength: number;
  /** Since the start of the server. */
  readonly executions: number;
  readonly images: number;
}

export interface LiveProcess {
  readonly role: string;
  readonly index: number;
  readonly ready: boolean;
  /** Null if unknown. */
  readonly residentBytes: number | null;
  readonly cpuSeconds: number | null;
}

export interface LiveServer {
  readonly address: string;
  readonly state: string;
  readonly models: readonly LiveModel[];
  readonly processes: readonly LiveProcess[];
  readonly permits: { readonly inUse: number; readonly limit: number };
  /** Images waiting for a decoder. */
  readonly decodeQueueLength: number;
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const TIMEOUT_MS = 5_000;

/** Rejects with SetupError if no vitserve answers. */
export async function readLive({
  host,
  port,
}: {
  readonly host: string;
  readonly port: number;
}): Promise<LiveServer> {
  const address = `${host}:${port}`;
  const remedy = 'give the HTTP address of a running server with --http-address';
  let text: string;
  try {
    const answer = await fetch(`http://${address}/metrics`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    text = await answer.text();
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new SetupError('environment', [
      `no metrics at ${address} (${messageOf(cause)}): ${remedy}`,
    ]);
  }
  const samples = parseSamples(text);
  if (!samples.some(({ name }) => name === 'vitserve_state')) {
    throw new SetupError('environment', [`the server at ${address} is not a vitserve: ${remedy}`]);
  }
  return liveServer(address, samples);
}

/** The samples of Prometheus' text format. */
export function parseSamples(text: string): Sample[] {
  return text.split('\n').flatMap((line) => {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (found === null) return [];
    const [, name = '', labelText = '', value] = found;
    const labels = [...labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
      ([, key = '', raw = '']) => [
        key,
        raw.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped)),
      ],
    );
    return [{ name, labels: Object.fromEntries(labels), value: Number(value) }];
  });
}

export function liveServer(address: string, samples: readonly Sample[]): LiveServer {
  const all = (name: string, labels: Readonly<Record<string, string>> = {}) =>
    samples.filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    );
  const one = (name: string, labels?: Readonly<Record<string, string>>) =>
    all(name, labels)[0]?.value ?? null;
  return {
    address,
    state: all('vitserve_state').find(({ value }) => value === 1)?.labels.state ?? 'unknown',
    models: all('vitserve_model_info').map(
      ({ labels: { model = '', version = '', execution_provider = '' } }) => ({
        name: model,
        version,
        executionProvider: execution_provider,
        batchCosts: all('vitserve_batch_cost_seconds', { model, version })
          .map(({ labels, value }) => ({
            batchSize: Number(labels.batch_size),
            milliseconds: value * 1000,
          }))
          .sort((a, b) => a.batchSize - b.batchSize),
        queueLength: one('vitserve_queue_length', { stage: 'batch', model }) ?? 0,
        executions: one('vitserve_batch_size_count', { model }) ?? 0,
        images: one('vitserve_batch_size_sum', { model }) ?? 0,
      }),
    ),
    // The metrics list them as they got ready; sorted, decoders come first, as on an image's way.
    processes: all('vitserve_process_ready')
      .map(({ labels: { role = '', index = '' }, value }) => ({
        role,
        index: Number(index),
        ready: value === 1,
        residentBytes: one('vitserve_process_resident_memory_bytes', { role, index }),
        cpuSeconds: one('vitserve_process_cpu_seconds', { role, index }),
      }))
      .sort((a, b) => a.role.localeCompare(b.role) || a.index - b.index),
    permits: {
      inUse: one('vitserve_permits_in_use') ?? 0,
      limit: one('vitserve_permits_limit') ?? 0,
    },
    decodeQueueLength: one('vitserve_queue_length', { stage: 'decode' }) ?? 0,
  };
}

/** For people. */
export function describeLive({
  address,
  state,
  models,
  processes,
  permits,
  decodeQueueLength,
}: LiveServer): string {
  const lines = [
    `vitserve at ${address}: ${state}`,
    `  permits      ${permits.inUse} of ${permits.limit} in use`,
    `  decoding     ${decodeQueueLength} waiting`,
    ...processes.map(({ role, index, ready, residentBytes, cpuSeconds }) => {
      const memory = residentBytes === null ? '' : `, ${(residentBytes / 2 ** 20).toFixed(0)} MiB`;
      const cpu = cpuSeconds === null ? '' : `, ${cpuSeconds.toFixed(1)} s of CPU`;
      return `  ${`${role} ${index}`.padEnd(12)} ${ready ? 'ready' : 'being replaced'}${memory}${cpu}`;
    }),
  ];
  for (const {
    name,
    version,
    executionProvider,
    batchCosts,
    queueLength,
    executions,
    images,
  } of models) {
    const mean = executions === 0 ? '' : `, ${(images / executions).toFixed(1)} images each`;
    lines.push(
      `${name}/${version} on ${executionProvider}: ${executions} executions${mean}; ${queueLength} waiting`,
      '  batch size    cost, ms   images/s per process',
      ...batchCosts.map(
        ({ batchSize, milliseconds }) =>
          `  ${String(batchSize).padStart(10)}   ${milliseconds.toFixed(2).padStart(9)}   ${((1000 * batchSize) / milliseconds).toFixed(0).padStart(20)}`,
      ),
    );
  }
  return `${lines.join('\n')}\n`;
}
