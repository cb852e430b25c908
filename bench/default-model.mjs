// The default model under load: throughput, latency, where the CPU time of an image goes, and how
// long the front's event loop was ever held up.
//   node bench/default-model.mjs [CALLERS] [SECONDS] [JPEG…]
import { pictures } from './pictures.mjs';
import { cpuText, startServer, underLoad } from './server.mjs';

const callers = Number(process.argv[2] ?? 32);
const seconds = Number(process.argv[3] ?? 10);
const images = await pictures(process.argv.slice(4));

const server = await startServer();
try {
  const run = await underLoad(
    server,
    images,
    { kind: 'closed', callers },
    { seconds, warmUpSeconds: 2 },
  );
  const kilobytes = images.reduce((sum, { length }) => sum + length, 0) / images.length / 1000;
  const { goodputPerSecond, latencyMs, after, server: told } = run;
  console.log(
    `${callers} callers, ${images.length} JPEGs of ${kilobytes.toFixed(0)} kB, ${seconds} s, errors ${JSON.stringify(run.errors)}`,
  );
  console.log(
    `${goodputPerSecond.toFixed(0)} images/s, p50 ${latencyMs.p50.toFixed(1)} ms, p99 ${latencyMs.p99.toFixed(1)} ms`,
  );
  console.log(`CPU-ms an image: ${cpuText(run.cpuMs)}`);
  console.log(
    `front event-loop delay: p99 ${(after.get('nodejs_eventloop_lag_p99_seconds') * 1000).toFixed(1)} ms, max ${(after.get('nodejs_eventloop_lag_max_seconds') * 1000).toFixed(1)} ms`,
  );
  const sizes = Object.entries(told.batchSizes).map(([size, count]) => `${size}: ${count}`);
  console.log(`batches: ${sizes.join(', ')} (images by batch size)`);
} finally {
  await server.stop();
}
