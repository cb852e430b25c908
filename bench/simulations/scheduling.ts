/**
 * Scheduling by deadline in simulated time: the dispatcher itself, with processes that take as long
 * as they are said to and Poisson arrivals. The figures depend on no machine.
 */
import { chance, simulate } from '#test/unit/server/scheduling/simulation.js';
import { bench, number } from '../lib/bench.js';
import { Table } from '../lib/figures.js';

interface Machine {
  readonly processes: number;
  readonly maxBatchSize: number;
  /** Milliseconds of a batch. */
  readonly cost: (size: number) => number;
  readonly deadlineMs: number;
}

interface Day {
  /** Of the capacity. */
  readonly load: number;
  readonly lengthMs: number;
  readonly overtakingLimitMs?: number;
  readonly deadlineOf?: (random: () => number) => number;
}

/** Two processes of ViT-Ti/16 on a CPU; one that takes images one by one; ViT-B/16 on an A100. */
const MACHINES: Readonly<Record<string, Machine>> = {
  'CPU, batches of 4': {
    processes: 2,
    maxBatchSize: 4,
    cost: (size) => 4 + 4 * size,
    deadlineMs: 100,
  },
  'CPU, one by one': { processes: 2, maxBatchSize: 1, cost: () => 35, deadlineMs: 200 },
  'GPU, batches of 32': {
    processes: 1,
    maxBatchSize: 32,
    cost: (size) => 0.83 + 0.177 * size,
    deadlineMs: 30,
  },
};
const COLUMNS = [
  'answered in time, of the capacity',
  'of the arrivals',
  'executed in vain',
  'rejected at once, of the rejected',
  'mean batch',
];

const percent = (part: number, whole: number) =>
  whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`;

/** Times vary by ± 30 %, and one batch in fifty takes three times as long. Cells of `COLUMNS`. */
async function play(machine: Machine, day: Day): Promise<string[]> {
  const { processes, maxBatchSize, cost } = machine;
  const { load, lengthMs, overtakingLimitMs = 1000 } = day;
  const deadlineOf = day.deadlineOf ?? (() => machine.deadlineMs);
  const [arriving, taking, wanting] = [chance(11), chance(12), chance(13)];
  const capacityPerMs = (processes * maxBatchSize) / cost(maxBatchSize);
  const arrivals: { atMs: number; deadlineMs: number }[] = [];
  for (let atMs = 0; atMs < lengthMs; atMs += -Math.log(1 - arriving()) / (capacityPerMs * load))
    arrivals.push({ atMs, deadlineMs: deadlineOf(wanting) });
  let batches = 0;
  const images = await simulate({
    workers: processes,
    maxBatchSize,
    overtakingLimitMs,
    serviceMs: (size) => cost(size) * (0.7 + 0.6 * taking()) * (taking() < 0.02 ? 3 : 1),
    warmUpCosts: [1, maxBatchSize].map((size) => ({ batchSize: size, milliseconds: cost(size) })),
    arrivals,
    onBatch: () => batches++,
  });
  const inTime = images.filter(
    ({ outcome, endedAt, expiresAt }) => outcome === 'answered' && endedAt <= expiresAt,
  ).length;
  const executed = images.filter(({ givenAt }) => givenAt !== null).length;
  const rejected = images.filter(({ outcome }) => outcome === 'rejected');
  const atOnce = rejected.filter(({ atMs, endedAt }) => endedAt === atMs).length;
  return [
    percent(inTime, lengthMs * capacityPerMs),
    percent(inTime, images.length),
    percent(executed - inTime, executed),
    percent(atOnce, rejected.length),
    (executed / batches).toFixed(1),
  ];
}

export default bench({
  about: 'scheduling by deadline at several loads, on simulated machines',
  options: { seconds: number('simulated', 2) },
  async run({ seconds }) {
    const lengthMs = 1000 * seconds;
    const byLoad = new Table('machine', 'load', ...COLUMNS);
    for (const [name, machine] of Object.entries(MACHINES)) {
      for (const load of [0.7, 0.95, 3])
        byLoad.row(name, `${100 * load} %`, ...(await play(machine, { load, lengthMs })));
    }

    console.log('\nhalf of the callers have four times as long as the others\n');
    const byOrder = new Table('machine', 'load', 'first', ...COLUMNS);
    for (const [name, machine] of Object.entries(MACHINES)) {
      const deadlineOf = (random: () => number) =>
        machine.deadlineMs * (random() < 0.5 ? 0.6 : 2.4);
      for (const load of [0.95, 1.5]) {
        for (const [first, overtakingLimitMs] of [
          ['earliest deadline', 1000],
          ['first come', 0.001],
        ] as const) {
          const cells = await play(machine, { load, lengthMs, overtakingLimitMs, deadlineOf });
          byOrder.row(name, `${100 * load} %`, first, ...cells);
        }
      }
    }
  },
});
