/**
 * What the front spends on a call, beside a server on the same grpc-js that does nothing.
 *
 * JPEG files of 10, 110 and 1,000 kB that hold 32 × 32 pixels, the rest being comments, so that
 * decoding costs little; simulated inference of 0.05 ms. Poisson arrivals from callers that cost
 * next to nothing, the servers in turns. Printed are medians of the CPU time of a call in µs: all
 * threads of the front, garbage collection included. The difference is to the null handler.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { measure } from '#vitserve/client/bench/measure.js';
import { systemClock } from '#vitserve/clock.js';
import { BareTarget } from './lib/bare-target.js';
import { bench, builds, rounds, seconds } from './lib/bench.js';
import { ownChild, startChildren } from './lib/children.js';
import { median, Table } from './lib/figures.js';
import { encoded } from './lib/load.js';
import { drawnPictures } from './lib/pictures.js';
import { namedBuilds, startServer, total } from './lib/server.js';

interface Candidate {
  readonly name: string;
  readonly address: string;
  /** CPU time so far. */
  readonly cpuMs: () => Promise<number>;
  readonly end: () => unknown;
}

const RATES: readonly [kilobytes: number, rates: readonly number[]][] = [
  [10, [200, 2000]],
  [110, [200, 1000]],
  [1000, [50, 200]],
];
const TIMEOUT_MS = 10_000;

/** The picture with comment segments behind its first marker, until it has so many bytes. */
function padded(picture: Buffer, bytes: number): Buffer {
  const parts = [picture.subarray(0, 2)];
  for (let left = bytes - picture.length; left > 0; left -= 65_537) {
    const length = Math.max(2, Math.min(left - 2, 65_535));
    const segment = Buffer.alloc(length + 2, 0x20);
    segment.writeUInt16BE(0xfffe, 0);
    segment.writeUInt16BE(length, 2);
    parts.push(segment);
  }
  return Buffer.concat([...parts, picture.subarray(2)]);
}

async function startNullServer(): Promise<Candidate> {
  const program = ownChild('null-server');
  const { greeting, ask, end } = await startChildren<
    { address: string },
    object,
    { cpuMs: number }
  >(1, ...program);
  return {
    name: 'null handler',
    address: greeting.address,
    cpuMs: async () => (await ask({}))[0]?.cpuMs ?? Number.NaN,
    end,
  };
}

async function startFront(name: string, build: string): Promise<Candidate> {
  const server = await startServer({ build, simulated: '1:0.05', permits: 1024 });
  return {
    name,
    address: server.address,
    cpuMs: async () => total(await server.metrics(), 'process_cpu_seconds_total') * 1000,
    end: server.stop,
  };
}

/** CPU-µs of a call. */
async function costOf(
  { address, cpuMs }: Candidate,
  image: Buffer,
  load: { ratePerSecond: number; seed: number },
  seconds: number,
): Promise<number> {
  const target = new BareTarget({ address, messages: encoded([image]), timeoutMs: TIMEOUT_MS });
  const run = (durationMs: number) =>
    measure({
      load: { kind: 'open', ...load },
      send: target.send,
      warmUpMs: 0,
      durationMs,
      timeoutMs: TIMEOUT_MS,
      clock: systemClock,
      signal: new AbortController().signal,
    });
  await run(1000);
  const before = await cpuMs();
  const { outcomes } = await run(seconds * 1000);
  const spent = (await cpuMs()) - before;
  target.close();
  const [ok, ...others] = outcomes;
  if (ok?.code !== 'OK' || others.length > 0)
    throw new Error(`calls failed: ${JSON.stringify(outcomes)}`);
  return (spent / ok.calls) * 1000;
}

export default bench({
  about: 'CPU time of a call in the front, beside a server that does nothing',
  options: { seconds: seconds(6), rounds: rounds(3), build: builds() },
  async run(given) {
    const picture = (await drawnPictures({ width: 32, height: 32 }))[0] as Buffer;
    const candidates: Candidate[] = [];
    try {
      for (const [name, build] of namedBuilds(given.build))
        candidates.push(await startFront(name, build));
      const nothing = await startNullServer();
      candidates.push(nothing);
      const fronts = candidates.filter((each) => each !== nothing);
      // What a start leaves to do is not a call's.
      await sleep(1000);
      const table = new Table(
        'file',
        'calls/s',
        ...candidates.map(({ name }) => `${name}, µs`),
        ...fronts.map(({ name }) => `difference of ${name}`),
      );
      for (const [kilobytes, rates] of RATES) {
        const image = padded(picture, kilobytes * 1000);
        for (const ratePerSecond of rates) {
          const costs = new Map(candidates.map((each): [Candidate, number[]] => [each, []]));
          for (let seed = 0; seed < given.rounds; seed++) {
            for (const [each, spent] of costs)
              spent.push(await costOf(each, image, { ratePerSecond, seed }, given.seconds));
          }
          const cost = (each: Candidate) => median(costs.get(each) ?? []);
          table.row(
            `${kilobytes} kB`,
            ratePerSecond,
            ...candidates.map((each) => cost(each).toFixed(0)),
            ...fronts.map((each) => (cost(each) - cost(nothing)).toFixed(0)),
          );
        }
      }
    } finally {
      await Promise.all(candidates.map(({ end }) => end()));
    }
  },
});
