/**
 * What the front spends on a call, beside a server on the same grpc-js that does nothing.
 *
 *   npm run build && node bench/front.mjs [--seconds 6] [--rounds 3]
 *
 * JPEG files of 10, 110 and 1,000 kB that hold 32 × 32 pixels, the rest being comments, so that
 * decoding costs little; simulated inference of 0.05 ms. Poisson arrivals at 200 and at 2,000
 * calls/s (with 110 kB at 200 and 1,000, with 1,000 kB at 50 and 200), the two servers in turns,
 * callers bare. Printed are medians of the CPU time of a call in µs: all threads of the front,
 * garbage collection included.
 */
import { parseArgs } from 'node:util';
import { measure } from '../dist/client/bench/measure.js';
import { VitserveClient } from '../dist/client/client.js';
import { systemClock } from '../dist/clock.js';
import { BareTarget } from './bare-callers.mjs';
import { startChildren } from './children.mjs';
import { pictures } from './pictures.mjs';
import { median, startServer, total } from './server.mjs';

const { values: given } = parseArgs({
  options: { seconds: { type: 'string', default: '6' }, rounds: { type: 'string', default: '3' } },
});
const [seconds, rounds] = ['seconds', 'rounds'].map((name) => Number(given[name]));
const [picture] = await pictures([], { width: 32, height: 32 });

/** The picture with comment segments behind its first marker, until it has so many bytes. */
function padded(bytes) {
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

const server = await startServer(['--execution-provider', 'simulated:1:0.05', '--permits', '1024']);
const nothing = await startChildren(1, process.execPath, [
  new URL('null-server.mjs', import.meta.url).pathname,
]);
const servers = {
  front: {
    address: server.address,
    cpuMs: async () => total(await server.metrics(), 'process_cpu_seconds_total') * 1000,
  },
  nothing: { address: nothing.hello.address, cpuMs: async () => (await nothing.ask({}))[0].cpuMs },
};

/** CPU-µs of a call. */
async function costOf({ address, cpuMs }, image, ratePerSecond, seed) {
  const messages = [VitserveClient.encodeClassify({ image, model: '', topK: 5 })];
  const target = new BareTarget({ address, messages, timeoutMs: 10_000 });
  const load = { kind: 'open', ratePerSecond, seed };
  const { signal } = new AbortController();
  const run = (durationMs) =>
    measure({
      load,
      send: target.send,
      warmUpMs: 0,
      durationMs,
      timeoutMs: 10_000,
      clock: systemClock,
      signal,
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

try {
  console.log(
    '| file | calls/s | front, µs | null handler, µs | difference |\n|---|---|---|---|---|',
  );
  for (const [kilobytes, rates] of [
    [10, [200, 2000]],
    [110, [200, 1000]],
    [1000, [50, 200]],
  ]) {
    const image = padded(kilobytes * 1000);
    for (const rate of rates) {
      const costs = { front: [], nothing: [] };
      for (let round = 0; round < rounds; round++) {
        for (const name of ['front', 'nothing'])
          costs[name].push(await costOf(servers[name], image, rate, round));
      }
      const [front, bare] = [median(costs.front), median(costs.nothing)];
      const cells = [
        `${kilobytes} kB`,
        rate,
        front.toFixed(0),
        bare.toFixed(0),
        (front - bare).toFixed(0),
      ];
      console.log(`| ${cells.join(' | ')} |`);
    }
  }
} finally {
  await Promise.all([server.stop(), nothing.end()]);
}
