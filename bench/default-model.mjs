// The default model under load: throughput, latency, where the CPU time of an image goes, and how long the front's event
// loop was ever held up.
//   node bench/default-model.mjs [CALLERS] [SECONDS] [JPEG…]
import { closedLoop, pictures, startServer, total } from './server.mjs';

const callers = Number(process.argv[2] ?? 32);
const seconds = Number(process.argv[3] ?? 10);
const images = await pictures(process.argv.slice(4));

const server = await startServer();
try {
  await closedLoop(server.address, images, callers, 2);
  const before = await server.metrics();
  const run = await closedLoop(server.address, images, callers, seconds);
  const after = await server.metrics();
  const grown = (name) => total(after, name) - total(before, name);
  const role = (which) => {
    let sum = 0;
    for (const [key, value] of after) {
      if (key.startsWith('vitserve_process_cpu_seconds{') && key.includes(`role="${which}"`))
        sum += value - (before.get(key) ?? 0);
    }
    return ((sum / run.answered) * 1000).toFixed(2);
  };
  const front = (grown('process_cpu_seconds_total') / run.answered) * 1000;
  const kilobytes = images.reduce((sum, { length }) => sum + length, 0) / images.length / 1000;
  console.log(
    `${callers} callers, ${images.length} JPEGs of ${kilobytes.toFixed(0)} kB, ${seconds} s, errors ${JSON.stringify(run.errors)}`,
  );
  console.log(`${run.imagesPerSecond.toFixed(0)} images/s, p50 ${run.p50.toFixed(1)} ms, p99 ${run.p99.toFixed(1)} ms`);
  console.log(
    `CPU-ms an image: front ${front.toFixed(2)}, decoders ${role('decoder')}, inference ${role('inference')}, callers ${run.clientCpuMs.toFixed(2)}`,
  );
  console.log(
    `front event-loop delay: p99 ${(after.get('nodejs_eventloop_lag_p99_seconds') * 1000).toFixed(1)} ms, max ${(after.get('nodejs_eventloop_lag_max_seconds') * 1000).toFixed(1)} ms`,
  );
  console.log(
    `batches: ${run.batchSizes.map(([size, count]) => `${size}: ${count}`).join(', ')} (images by batch size)`,
  );
} finally {
  await server.stop();
}
