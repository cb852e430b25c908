// What the benchmarks share: a server in a process of its own, closed-loop callers, and figures from /metrics.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { VitserveClient } from '../dist/client/client.js';

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
        await Promise.race([once(lines, 'line'), exited.then((code) => Promise.reject(new Error(`ended: ${code}`)))]);
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

/** Callers that send the next image as soon as they have an answer, for `seconds`. Latencies are milliseconds. */
export async function closedLoop(address, images, callers, seconds) {
  const client = new VitserveClient(address, { retries: false });
  const latencies = [];
  const batchSizes = new Map();
  const errors = new Map();
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const end = startedAt + seconds * 1000;
  let next = 0;
  const caller = async () => {
    while (performance.now() < end) {
      const sentAt = performance.now();
      try {
        const { timing } = await client.classify({ image: images[next++ % images.length] });
        latencies.push(performance.now() - sentAt);
        batchSizes.set(timing.batchSize, (batchSizes.get(timing.batchSize) ?? 0) + 1);
      } catch (error) {
        errors.set(error.reason || error.code, (errors.get(error.reason || error.code) ?? 0) + 1);
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const elapsed = (performance.now() - startedAt) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  client.close();
  latencies.sort((a, b) => a - b);
  return {
    answered: latencies.length,
    elapsed,
    imagesPerSecond: latencies.length / elapsed,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    batchSizes: [...batchSizes].sort(([a], [b]) => a - b),
    errors: Object.fromEntries(errors),
    clientCpuMs: (cpu.user + cpu.system) / 1000 / latencies.length,
  };
}

export function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function median(values) {
  return percentile(
    [...values].sort((a, b) => a - b),
    0.5,
  );
}

/** JPEG files given on the command line, or drawn ones of the size of a photo. */
export async function pictures(paths, { width = 500, height = 375, count = 16 } = {}) {
  if (paths.length > 0) return paths.map((path) => readFileSync(path));
  return await Promise.all(
    Array.from({ length: count }, (_, seed) => {
      const noise = { type: 'gaussian', mean: 100 + seed * 4, sigma: 12 + seed };
      return sharp({ create: { width, height, channels: 3, background: 'grey', noise } })
        .jpeg({ quality: 85 })
        .toBuffer();
    }),
  );
}
