// What it costs the front to observe a call: counting it, deciding on its log line, and tracing it,
// without the call itself. Spans go to a receiver in a process of its own, over OTLP, so their
// sending is in the figure and their reading is not.
//   npm run -s build && node bench/observing.mjs
import { fork } from 'node:child_process';
import { createServer } from 'node:http';
import { monitorEventLoopDelay } from 'node:perf_hooks';

if (process.argv[2] === 'receive') {
  const server = createServer((request, response) => {
    request
      .resume()
      .on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
  });
  server.listen(0, '127.0.0.1', () => process.send(server.address().port));
} else await measure();

async function measure() {
  const receiver = fork(new URL(import.meta.url), ['receive']);
  const port = await new Promise((resolve) => receiver.once('message', resolve));
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${port}`;
  try {
    const { createTracing } = await import('../dist/server/telemetry/tracing.js');
    const { readTracing } = await import('../dist/cli/tracing.js');
    const tracing = (more, from) => {
      const { settings } = readTracing({
        ...process.env,
        OTEL_BSP_MAX_QUEUE_SIZE: '100000',
        ...more,
      });
      return createTracing({ settings, version: '0', ...from });
    };
    console.log('| traces | CPU of a call, µs | event loop held, p99 and longest, ms |');
    console.log('|---|---|---|');
    await report('off', () => null);
    await report('on, the caller does not record', (from) => tracing({}, from), '00');
    await report('on, batches of 128 spans', (from) =>
      tracing({ OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '128' }, from),
    );
    await report('on, batches of 512 spans', (from) => tracing({}, from));
  } finally {
    receiver.kill();
  }
}

/** A thousand calls a second for ten seconds, after two to get warm. */
async function report(name, startTracing, flags = '01') {
  const [{ createCallObserver }, { createMetrics }, { newImageRecord }, { systemClock: clock }] =
    await Promise.all([
      import('../dist/server/telemetry/calls.js'),
      import('../dist/server/telemetry/metrics.js'),
      import('../dist/server/pipeline/image-record.js'),
      import('../dist/clock.js'),
    ]);
  const metrics = createMetrics();
  const log = { isLevelEnabled: () => false, info() {}, warn() {}, error() {}, debug() {} };
  const tracing = startTracing({ metrics, log, clock });
  const calls = createCallObserver({
    metrics,
    log,
    clock,
    tracing,
    logSample: 0,
    service: 'v1.Service',
  });
  const headers = { traceparent: `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}` };
  const model = { name: 'small', version: '1', executionProvider: 'cpu' };
  const one = () => {
    const now = clock.now();
    const call = calls.callBegan('/v1.Service/Classify', now - 10);
    call.headersReceived((key) => headers[key]);
    call.authenticated();
    const image = newImageRecord(now - 9);
    call.imageReceived(image);
    image.model = model;
    image.decoded = { at: now - 6, decodeMs: 2, format: 'jpeg', decoder: 'turbojpeg' };
    image.executed = { at: now - 1, executionMs: 4, batchSize: 1 };
    call.ended('OK', null);
  };
  const run = (seconds, each) =>
    new Promise((resolve) => {
      const until = performance.now() + 1000 * seconds;
      let made = 0;
      const began = performance.now();
      const timer = setInterval(() => {
        for (const due = performance.now() - began; made < due; made++) each();
        if (performance.now() < until) return;
        clearInterval(timer);
        resolve(made);
      }, 1);
    });
  const cost = async (seconds, each) => {
    const cpu = process.cpuUsage();
    const made = await run(seconds, each);
    const { user, system } = process.cpuUsage(cpu);
    return (user + system) / made;
  };
  await run(2, one);
  const idle = await cost(3, () => {});
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const busy = await cost(10, one);
  delay.disable();
  const held = [delay.percentile(99), delay.max].map((ns) => (ns / 1e6).toFixed(1)).join(' and ');
  console.log(`| ${name} | ${(busy - idle).toFixed(1)} | ${held} |`);
  await tracing?.close();
}
