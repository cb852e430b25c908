/**
 * Permits whose number the server chooses: how many there are, what they cost, and that they follow
 * the throughput.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg, plainPng } from '../support/images.js';
import { continuousLoad } from '../support/load.js';
import { eventually, ONE_EACH, ServerProcess, SIMULATED, suiteScope } from '../support/server.js';

const scope = suiteScope();
const PROVING_SLOTS = 8;

test('there are at least 64, and slots are made for those in use at a time', async (t) => {
  const server = await ServerProcess.start(t, SIMULATED);
  const client = new PlainClient(t, server.address);
  const image = await plainPng([10, 200, 30]);
  const limit = await server.metric('vitserve_permits_limit');
  assert.ok(limit >= 64, `${limit} permits`);
  const slotBytes = (await server.metric('vitserve_slot_bytes')) / (64 + PROVING_SLOTS);
  assert.ok(
    Number.isInteger(slotBytes),
    'as many as the fewest permits need are there from the start',
  );

  const thaw = await server.freeze(t, 'inference');
  const used = Math.min(limit, 200);
  const calls = Array.from({ length: used }, () => client.embed({ image }));
  await server.metricIs('vitserve_permits_in_use', {}, used);
  assert.ok((await server.metric('vitserve_slot_bytes')) >= (used + PROVING_SLOTS) * slotBytes);
  thaw();
  for (const { embedding } of await Promise.all(calls)) assert.deepEqual(embedding, [10, 200, 30]);
});

test('of a model that takes seconds for an image there are 64 all the same', async (t) => {
  const server = await ServerProcess.start(t, [
    '--execution-provider',
    'simulated:1:700',
    ...ONE_EACH,
  ]);
  assert.equal(await server.metric('vitserve_permits_limit'), 64);
});

test('they follow the throughput', async () => {
  const server = await ServerProcess.start(scope, SIMULATED);
  const client = new PlainClient(scope, server.address);
  const begun = await server.metric('vitserve_permits_limit');
  // The server answers hundreds a second of its own drawn picture; these take a decoder much
  // longer.
  const large = await jpeg(1, 2_500, 2_000);
  const load = continuousLoad(16, () => client.classify({ image: large }));
  const corrected = await eventually(
    'the limit is corrected',
    () => server.lines.find(({ msg }) => msg === 'permits corrected'),
    60_000,
  );
  await load.stop();
  assert.ok(Number(corrected.permits) < begun, `${corrected.permits} of ${begun}`);
  assert.equal(await server.metric('vitserve_permits_limit'), corrected.permits);
  assert.equal(await server.metric('vitserve_permits_in_use'), 0);
});
