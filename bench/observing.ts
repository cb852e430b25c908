/**
 * What it costs the front to observe a call: counting it, deciding on its log line, and tracing it,
 * without the call itself. A thousand calls a second. Spans go to a receiver in a process of its
 * own, over OTLP, so their sending is in the figure and their reading is not.
 *
 * Another build is measured by the program that was built with it: with --build of a checkout's
 * dist, that checkout's dist-bench has to be there too.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ObserveAnswer, ObserveQuestion } from './children/observe.js';
import { bench, builds, rounds, seconds } from './lib/bench.js';
import { ownChild, startChildren } from './lib/children.js';
import { median, Table } from './lib/figures.js';
import { namedBuilds } from './lib/server.js';

const TRACES: readonly [name: string, question: Omit<ObserveQuestion, 'seconds'>][] = [
  ['off', { batchSize: null, sampled: true }],
  ['on, the caller does not record', { batchSize: 512, sampled: false }],
  ['on, batches of 128 spans', { batchSize: 128, sampled: true }],
  ['on, batches of 512 spans', { batchSize: 512, sampled: true }],
];

function startObserver(build: string, port: number) {
  const program = resolve(build, '../dist-bench/children/observe.js');
  if (!existsSync(program)) throw new Error(`${program} is not there: npm run build:test`);
  return startChildren<string, ObserveQuestion, ObserveAnswer>(1, process.execPath, [program], {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
  });
}

export default bench({
  about: 'CPU time of a call for metrics, log and traces, without the call',
  options: { seconds: seconds(10), rounds: rounds(1), build: builds() },
  async run(given) {
    const receiver = await startChildren<number, null, null>(1, ...ownChild('span-receiver'));
    const observers = new Map<string, Awaited<ReturnType<typeof startObserver>>>();
    try {
      for (const [name, build] of namedBuilds(given.build))
        observers.set(name, await startObserver(build, receiver.greeting));
      const columns = [...observers.keys()].flatMap((name) => [
        `${name}: CPU of a call, µs`,
        'event loop held, p99 and longest, ms',
      ]);
      const table = new Table('traces', ...columns);
      for (const [name, question] of TRACES) {
        const answers = [...observers.values()].map((): ObserveAnswer[] => []);
        for (let round = 0; round < given.rounds; round++) {
          for (const [at, observer] of [...observers.values()].entries())
            answers[at]?.push(...(await observer.ask({ ...question, seconds: given.seconds })));
        }
        const cells = answers.flatMap((each) => [
          median(each.map(({ cpuUs }) => cpuUs)).toFixed(1),
          [each.map(({ p99Ms }) => p99Ms), each.map(({ maxMs }) => maxMs)]
            .map((values) => median(values).toFixed(1))
            .join(' and '),
        ]);
        table.row(name, ...cells);
      }
    } finally {
      for (const { end } of observers.values()) end();
      receiver.end();
    }
  },
});
