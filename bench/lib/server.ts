/** A server in a process of its own, and what its /metrics say. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { MAIN, ROOT } from './machine.js';

export interface ServeSettings {
  /** A dist folder or the main script of a build; absent: our own. */
  readonly build?: string;
  /** Null: the default model. */
  readonly repository?: string | null;
  /** Simulated inference: batch size:milliseconds,… */
  readonly simulated?: string;
  readonly provider?: string;
  readonly permits?: number | string;
  readonly inferenceProcesses?: number;
  readonly maxBatchSize?: number;
}

/** A line of the log. */
type LogEntry = Readonly<Record<string, unknown>> & { readonly msg: string };
/** `name{labels}` → value. */
export type Samples = ReadonlyMap<string, number>;

export interface BenchServer {
  readonly pid: number;
  readonly address: string;
  /** From spawn to the log line `serving`. */
  readonly startMs: number;
  readonly metrics: () => Promise<Samples>;
  /** Waits for the first line of the log with this text that matches. */
  readonly logged: (msg: string, matches?: (entry: LogEntry) => boolean) => Promise<LogEntry>;
  readonly stop: () => Promise<void>;
}

/** The only place that knows what the options are called. */
function flagsOf(settings: ServeSettings): string[] {
  const { repository, simulated, provider, permits, inferenceProcesses, maxBatchSize } = settings;
  const given: Readonly<Record<string, string | number | null | undefined>> = {
    address: '127.0.0.1:0',
    'http-address': '127.0.0.1:0',
    'log-format': 'json',
    'model-repository': repository,
    'execution-provider': simulated === undefined ? (provider ?? 'cpu') : `simulated:${simulated}`,
    permits,
    'inference-processes': inferenceProcesses,
    'max-batch-size': maxBatchSize,
    'start-timeout': '300s',
  };
  const flags = Object.entries(given).flatMap(([name, value]) =>
    value == null ? [] : [`--${name}`, String(value)],
  );
  return repository == null ? flags : [...flags, '--allow-random-weights'];
}

/** Builds to measure, by the names to print: our own where none is given. */
export function namedBuilds(given: readonly string[]): [name: string, build: string][] {
  const builds = given.length > 0 ? given : ['dist'];
  if (new Set(builds).size < builds.length) throw new Error('a build is given twice');
  return builds.map((build) => {
    const path = resolve(ROOT, build);
    if (!existsSync(path)) throw new Error(`${build} is not there`);
    return [build, path];
  });
}

/** On free ports. */
export async function startServer(settings: ServeSettings = {}): Promise<BenchServer> {
  const startedAt = performance.now();
  const { build = MAIN } = settings;
  const main = /\.m?js$/.test(build) ? build : join(build, 'main.js');
  const child = spawn(process.execPath, [main, 'serve', ...flagsOf(settings)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const ended = exited.then(([code]) => Promise.reject(new Error(`the server ended: ${code}`)));
  // A server that was stopped has ended too, when nobody waits any more.
  ended.catch(() => {});
  const lines = createInterface({ input: child.stdout });
  const entries: LogEntry[] = [];
  lines.on('line', (line) => {
    const entry = JSON.parse(line);
    entries.push(entry);
    if (entry.level === 'error' || entry.level === 'fatal') console.error(line);
  });
  const logged: BenchServer['logged'] = async (msg, matches = () => true) => {
    for (;;) {
      const entry = entries.find((each) => each.msg === msg && matches(each));
      if (entry !== undefined) return entry;
      await Promise.race([once(lines, 'line'), ended]);
    }
  };
  const serving = await logged('serving');
  return {
    pid: child.pid as number,
    address: String(serving.address),
    startMs: performance.now() - startedAt,
    metrics: () => scrape(`http://${serving.http}/metrics`),
    logged,
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** Starts a server, works with it, and stops it whatever happens. */
export async function withServer<Result>(
  settings: ServeSettings,
  work: (server: BenchServer) => Promise<Result>,
): Promise<Result> {
  const server = await startServer(settings);
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

async function scrape(url: string): Promise<Samples> {
  const text = await (await fetch(url)).text();
  const samples = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, sample, value] = /^([^#\s]\S*|[^#{]+\{.*\}) (\S+)$/.exec(line) ?? [];
    if (sample !== undefined) samples.set(sample, Number(value));
  }
  return samples;
}

/** Sum of all samples of a metric, whatever their labels; `label` narrows them down: `role="a"`. */
export function total(samples: Samples, name: string, label = ''): number {
  let sum = 0;
  for (const [key, value] of samples) {
    if ((key === name || key.startsWith(`${name}{`)) && key.includes(label)) sum += value;
  }
  return sum;
}
