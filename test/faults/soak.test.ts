/**
 * Everything at once, for a few seconds: callers of every kind while processes are killed and
 * stopped and strangers damage what they send. The long version is `npm run soak`; what it measured
 * stands in docs/internals/reliability.md.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlainClient } from '../support/grpc-client.js';
import { ON_CPU, ServerProcess } from '../support/server.js';
import { strikes, vandals } from './rig/fault-actors.js';
import { badImages, closedCallers, hurried, leavers } from './rig/load-actors.js';
import { summary, verdictText } from './rig/report.js';
import { run } from './rig/run.js';
import { drawBad, drawGood, knowPictures } from './rig/stage.js';
import { streams } from './rig/stream-actors.js';
import { resets, slowUploads } from './rig/upload-actors.js';
import { reasonsToFail } from './rig/verdict.js';

/** Slots for more than the load, so that no call is refused; stuck processes are killed soon. */
const FLAGS = [
  ...['--decoder-processes', '2', '--inference-processes', '2', '--permits', '64'],
  ...['--max-image-pixels', '1000000', '--max-image-bytes', '1MiB', '--inference-timeout', '1s'],
];
const PERMITS_REFUSED = ['OVERLOADED', 'DEADLINE_UNREACHABLE'];

test('under faults of every kind no admitted request fails, is lost or wrong', async (t) => {
  const server = await ServerProcess.start(t, [...ON_CPU, ...FLAGS]);
  const client = new PlainClient(t, server.address);
  const pictures = await knowPictures(client, await drawGood(), await drawBad());
  const evidence = await run({
    subject: {
      address: server.address,
      http: String((await server.logged('serving')).http),
      pid: server.pid,
    },
    pictures,
    actors: [
      closedCallers(4),
      streams(1),
      badImages(15),
      leavers(20),
      hurried(10),
      resets(10),
      slowUploads(1, 300),
    ],
    faults: [
      strikes(server, { everyMs: 1_300 }),
      strikes(server, { everyMs: 2_900, roles: ['inference', 'decoder'], signal: 'SIGSTOP' }),
      vandals(3_000),
    ],
    durationMs: 8_000,
    windowMs: 8_000,
    sampleMs: 500,
    patienceMs: 10_000,
  });
  for (const line of summary(evidence).split('\n')) t.diagnostic(line);

  const limits = { refusals: PERMITS_REFUSED, memoryGrowthMib: 128, descriptorGrowth: 256 };
  assert.equal(verdictText(reasonsToFail(evidence, limits)), 'HOLDS');
  assert(evidence.faults >= 6, `only ${evidence.faults} faults`);
  for (const [name, { right }] of Object.entries(evidence.totals.byActor)) {
    assert(right > 0 || name === 'resets', `${name}: none was answered`);
  }
  await server.metricIs('vitserve_permits_in_use', {}, 0);
  await server.metricIs('vitserve_queue_length', {}, 0);
});
