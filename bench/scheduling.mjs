// Scheduling by deadline in simulated time: the dispatcher itself, with processes that take as long
// as they are said to and Poisson arrivals. The figures depend on no machine.
//   npm run build:test && node bench/scheduling.mjs [SECONDS]
import { chance, simulate } from '../dist-test/unit/batch/simulation.js';

const lengthMs = 1000 * Number(process.argv[2] ?? 2);

/** Two processes of ViT-Ti/16 on a CPU; one that takes images one by one; ViT-B/16 on an A100. */
const MACHINES = {
  'CPU, batches of 4': { lanes: 2, maxBatchSize: 4, cost: (size) => 4 + 4 * size, deadlineMs: 100 },
  'CPU, one by one': { lanes: 2, maxBatchSize: 1, cost: () => 35, deadlineMs: 200 },
  'GPU, batches of 32': {
    lanes: 1,
    maxBatchSize: 32,
    cost: (size) => 0.83 + 0.177 * size,
    deadlineMs: 30,
  },
};

/** Times vary by ± 30 %, and one batch in fifty takes three times as long. */
async function day(
  machine,
  { load, overtakingLimitMs = 1000, deadlineOf = () => machine.deadlineMs },
) {
  const { lanes, maxBatchSize, cost } = machine;
  const [arriving, taking, wanting] = [chance(11), chance(12), chance(13)];
  const serviceMs = (size) => cost(size) * (0.7 + 0.6 * taking()) * (taking() < 0.02 ? 3 : 1);
  const capacity = (lanes * maxBatchSize) / cost(maxBatchSize);
  const arrivals = [];
  for (let atMs = 0; atMs < lengthMs; atMs += -Math.log(1 - arriving()) / (capacity * load)) {
    arrivals.push({ atMs, deadlineMs: deadlineOf(wanting) });
  }
  const warmUpCosts = [1, maxBatchSize].map((batchSize) => ({
    batchSize,
    milliseconds: cost(batchSize),
  }));
  let batches = 0;
  const onBatch = () => batches++;
  const images = await simulate({
    ...{
      lanes,
      maxBatchSize,
      overtakingLimitMs,
      serviceMs,
      warmUpCosts,
      arrivals,
      onBatch,
    },
  });
  const inTime = images.filter(
    ({ outcome, endedAt, expiresAt }) => outcome === 'answered' && endedAt <= expiresAt,
  );
  const given = images.filter(({ givenAt }) => givenAt !== null);
  const refused = images.filter(({ outcome }) => outcome === 'refused');
  const atOnce = refused.filter(({ atMs, endedAt }) => endedAt === atMs);
  return {
    'answered in time, of capacity': percent(inTime.length / lengthMs / capacity),
    'of the arrivals': percent(inTime.length / images.length),
    'executed in vain': percent((given.length - inTime.length) / given.length),
    'refused at once, of the refused':
      refused.length === 0 ? '–' : percent(atOnce.length / refused.length),
    'mean batch': (given.length / batches).toFixed(1),
  };
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const rows = {};
for (const [name, machine] of Object.entries(MACHINES)) {
  for (const load of [0.7, 0.95, 3])
    rows[`${name}, load ${100 * load} %`] = await day(machine, { load });
}
console.table(rows);

// Half of the callers have four times as long as the others.
const mixed = {};
for (const [name, machine] of Object.entries(MACHINES)) {
  const deadlineOf = (wanting) => machine.deadlineMs * (wanting() < 0.5 ? 0.6 : 2.4);
  for (const load of [0.95, 1.5]) {
    for (const [order, overtakingLimitMs] of [
      ['earliest deadline', 1000],
      ['first come', 0.001],
    ]) {
      mixed[`${name}, load ${100 * load} %, ${order} first`] = await day(machine, {
        load,
        overtakingLimitMs,
        deadlineOf,
      });
    }
  }
}
console.table(mixed);
