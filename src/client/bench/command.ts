/**
 * `vitserve bench [FILE|FOLDER…]`: puts a running server under load and reports.
 *
 * One measurement after another, each after a warm-up of its own. The report goes to standard
 * output; progress goes to standard error if that is a terminal. Ctrl-C ends at once, with the
 * figures so far.
 */

import type { BenchSettings } from '../../cli/bench-options.js';
import { loadBenchSettings } from '../../cli/load.js';
import { formatAddress } from '../../cli/value-types.js';
import { systemClock } from '../../clock.js';
import { clientOptions } from '../client-options.js';
import type { Load } from './load.js';
import { type Measurement, measure } from './measure.js';
import { type DrawJpeg, readImages } from './read-images.js';
import { nameOf, renderReport } from './report.js';
import { Target } from './target.js';

/** Alone, moderate, and more than most machines have cores for. */
const DEFAULT_CALLERS = [1, 8, 32];

/** `drawJpeg`: for when no images are given. */
export async function bench(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  drawJpeg: DrawJpeg,
): Promise<number> {
  const { settings, paths } = loadBenchSettings(argv, environment);
  const { images, description } = await readImages(paths, drawJpeg);
  const address = formatAddress(settings.address);
  const target = new Target({
    ...settings,
    address,
    images,
    client: await clientOptions(settings),
  });
  const model = await target.probe();
  const measurements = await measureAll(loadsOf(settings), target, settings);
  target.close();

  const { durationMs, warmUpMs, timeoutMs, connections, seed, topK } = settings;
  if (settings.json) {
    const asked = {
      address,
      images: description,
      durationMs,
      warmUpMs,
      timeoutMs,
      connections,
      seed,
      topK,
    };
    process.stdout.write(`${JSON.stringify({ ...asked, model, measurements }, null, 2)}\n`);
  } else {
    const heading = [
      `${model.name}/${model.version} on ${model.executionProvider} at ${address}; ${description}`,
      `${seconds(durationMs)} each after a warm-up of ${seconds(warmUpMs)}, deadline ${seconds(timeoutMs)}, ` +
        `${connections === 1 ? 'one connection' : `${connections} connections`}`,
    ];
    process.stdout.write(`${heading.join('\n')}\n\n${renderReport(measurements)}`);
  }
  return exitCodeOf(measurements);
}

/** One after another, until all are done, the server is lost, or a signal ends it. */
async function measureAll(
  loads: readonly Load[],
  target: Target,
  settings: BenchSettings,
): Promise<Measurement[]> {
  const { warmUpMs, durationMs, timeoutMs } = settings;
  const enough = new AbortController();
  const stop = () => enough.abort();
  process.on('SIGINT', stop).on('SIGTERM', stop);
  // The clock's timers do not keep the process alive, and between two calls of a low rate nothing
  // else does.
  const alive = setInterval(() => {}, 2 ** 30);
  const measurements: Measurement[] = [];
  for (const load of loads) {
    say(`${nameOf(load)}, ${seconds(warmUpMs + durationMs)} …`);
    const asked = { load, warmUpMs, durationMs, timeoutMs };
    const measurement = await measure({
      ...asked,
      send: target.send,
      clock: systemClock,
      signal: enough.signal,
    });
    measurements.push(measurement);
    if (enough.signal.aborted || measurement.lost) break;
  }
  say('');
  clearInterval(alive);
  return measurements;
}

function loadsOf({ callers, rate, seed }: BenchSettings): Load[] {
  const closed = callers ?? (rate === null ? DEFAULT_CALLERS : []);
  return [
    ...closed.map((count): Load => ({ kind: 'closed', callers: count })),
    ...(rate ?? []).map((ratePerSecond): Load => ({ kind: 'open', ratePerSecond, seed })),
  ];
}

function exitCodeOf(measurements: readonly Measurement[]): number {
  const answered = measurements.some(({ latencyMs }) => latencyMs !== null);
  return answered && !measurements.some(({ lost }) => lost) ? 0 : 1;
}

/** A line on the terminal that the next one replaces. */
function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}

function seconds(milliseconds: number): string {
  return `${milliseconds / 1000} s`;
}
