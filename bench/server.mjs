// What the benchmarks share: a server in a process of its own, load as `vitserve bench` makes it,
// and figures from /metrics.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { measure } from '../dist/client/bench/measure.js';
import { Target } from '../dist/client/bench/target.js';
import { VitserveClient } from '../dist/client/client.js';
import { systemClock } from '../dist/clock.js';
import { BareTarget } from './bare-callers.mjs';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));

/** Starts the built server on free ports. `startMs` is from spawn to the log line `serving`. */
export async function startServer(flags = [], nodeFlags = []) {
  const startedAt = performance.now();
  const own = ['--address', '127.0.0.1:0', '--http-address', '127.0.0.1:0', '--log-format', 'json'];
  const child = spawn(process.execPath, [...nodeFlags, main, 'serve', ...own, ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const lines = createInterface({ input: child.stdout });
  const entries = [];
  const serving = await new Promise((resolve, reject) => {
    exited.then((code) => reject(new Error(`the server ended with exit code ${code}`)));
    const settings = {};
    lines.on('line', (line) => {
      const entry = JSON.parse(line);
      entries.push(entry);
      if (entry.msg === 'exercised') Object.assign(settings, entry);
      if (entry.msg === 'serving') resolve({ ...settings, ...entry });
      if (entry.level === 'error' || entry.level === 'fatal') console.error(line);
    });
  });
  return {
    pid: child.pid,
    address: serving.address,
    settings: serving,
    startMs: performance.now() - startedAt,
    metrics: () => scrape(`http://${serving.http}/metrics`),
    /** Waits for the first line of the log with this text that matches. */
    async logged(msg, matches = () => true) {
      for (;;) {
        const entry = entries.find((each) => each.msg === msg && matches(each));
        if (entry !== undefined) return entry;
        await Promise.race([
          once(lines, 'line'),
          exited.then((code) => Promise.reject(new Error(`ended: ${code}`))),
        ]);
      }
    },
    async stop() {
      child.kill('SIGTERM');
      return await exited;
    },
  };
}

/** Every sample of the exposition as `name{labels}` → value. */
async function scrape(url) {
  const text = await (await fetch(url)).text();
  const samples = new Map();
  for (const line of text.split('\n')) {
    const match = /^([^#\s]\S*|[^#{]+\{.*\}) (\S+)$/.exec(line);
    if (match !== null) samples.set(match[1], Number(match[2]));
  }
  return samples;
}

/** Sum of all samples of a metric, whatever their labels. */
export function total(samples, name) {
  let sum = 0;
  for (const [key, value] of samples) if (key === name || key.startsWith(`${name}{`)) sum += value;
  return sum;
}

/**
 * CPU seconds of the front, the decoders and the inference processes between two readings of the
 * metrics.
 */
function cpuBetween(before, after) {
  const role = (name) => {
    let sum = 0;
    for (const [key, value] of after) {
      if (key.startsWith('vitserve_process_cpu_seconds{') && key.includes(`role="${name}"`))
        sum += value - (before.get(key) ?? 0);
    }
    return sum;
  };
  const front =
    total(after, 'process_cpu_seconds_total') - total(before, 'process_cpu_seconds_total');
  return { front, decoders: role('decoder'), inference: role('inference') };
}

/**
 * Puts a server under load as `vitserve bench` does, and adds what its metrics say of the time
 * after the warm-up. `load` is that of src/client/bench/load.ts. Retries are off and deadlines far.
 * `bare`: with callers that cost next to nothing (bare-callers.mjs), which tell no reasons.
 */
export async function underLoad(server, images, load, settings = {}) {
  const {
    seconds = 5,
    warmUpSeconds = 1,
    connections = 1,
    timeoutMs = 60_000,
    model = '',
    bare = false,
  } = settings;
  const { address } = server;
  const messages = bare
    ? images.map((image) => VitserveClient.encodeClassify({ image, model, topK: 5 }))
    : [];
  const target = bare
    ? new BareTarget({ address, messages, timeoutMs })
    : new Target({ address, connections, images, model, topK: 5, timeoutMs });
  const begin = sleep(warmUpSeconds * 1000).then(async () => ({
    at: performance.now(),
    samples: await server.metrics(),
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
  const { at, samples: before } = await begin;
  const elapsed = (performance.now() - at) / 1000;
  const after = await server.metrics();
  target.close();
  const grown = (name) => total(after, name) - total(before, name);
  const cpu = cpuBetween(before, after);
  const executed = grown('vitserve_batch_size_sum');
  return {
    ...measurement,
    errors: Object.fromEntries(
      measurement.outcomes
        .filter(({ code }) => code !== 'OK')
        .map(({ code, reason, calls }) => [reason || code, calls]),
    ),
    grown,
    before,
    after,
    /** Seconds between the two readings of the metrics. */
    elapsed,
    /** Cores' worth of CPU time. */
    cores: Object.fromEntries(Object.entries(cpu).map(([role, spent]) => [role, spent / elapsed])),
    /**
     * CPU-ms of each kind of process for each image executed, and of this program for each call.
     */
    cpuMs: {
      ...Object.fromEntries(
        Object.entries(cpu).map(([role, spent]) => [role, (spent / executed) * 1000]),
      ),
      callers: measurement.generator.cpuMsPerCall ?? 0,
    },
  };
}

/** `front 0.96, decoders 1.71, …`: CPU-ms of each. */
export function cpuText(cpuMs) {
  return Object.entries(cpuMs)
    .map(([who, milliseconds]) => `${who} ${milliseconds.toFixed(2)}`)
    .join(', ');
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
