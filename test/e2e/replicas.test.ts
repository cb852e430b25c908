/**
 * Several replicas and one client with the shipped service config
 * (`proto/vitserve/v1/service-config.json`): calls are spread, a replica that drains costs no call
 * its answer, and a call that one replica refuses is answered by another.
 *
 * A list of addresses stands in for the headless Service, as DNS would give it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VitserveClient } from '#vitserve/client/client.js';
import { CallFailure, failureOf, outcomeOf, PlainClient } from '../support/grpc-client.js';
import { jpeg, plainPng, withComments } from '../support/images.js';
import { continuousLoad } from '../support/load.js';
import { eventually, type Scope, ServerProcess, SIMULATED } from '../support/server.js';

const CALLERS = 8;

async function startTwo(scope: Scope, flags: readonly string[] = ['--permits', '64']) {
  const start = () => ServerProcess.start(scope, [...SIMULATED, ...flags]);
  const servers = await Promise.all([start(), start()]);
  const client = new VitserveClient(`ipv4:${servers.map(({ address }) => address).join(',')}`, {
    ownConnection: true,
  });
  scope.after(() => client.close());
  const image = await plainPng([1, 2, 3]);
  const call = () => client.classify({ image }, { timeoutMs: 20_000 });
  // A client begins with the first replica that it reaches, so figures count from when it has both.
  const before = await answeredBy(servers);
  await eventually('both replicas have been called', async () => {
    await call();
    return (await answeredBy(servers)).every((count, at) => count > (before[at] ?? 0));
  });
  return { servers, call };
}

/** Calls that each replica has answered, its own warm-up included. */
function answeredBy(servers: readonly ServerProcess[]): Promise<number[]> {
  const answered = { method: 'Classify', code: 'OK' };
  return Promise.all(servers.map((server) => server.metric('vitserve_requests_total', answered)));
}

test('calls are spread over the replicas', async (t) => {
  const { servers, call } = await startTwo(t);
  const before = await answeredBy(servers);
  const caller = async () => {
    for (let count = 0; count < 25; count++) await call();
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  const after = await answeredBy(servers);
  const shares = after.map((count, at) => (count - (before[at] ?? 0)) / (25 * CALLERS));
  for (const share of shares)
    assert.ok(share >= 0.4 && share <= 0.6, `shares ${shares.join(' and ')}`);
});

for (const delay of ['0s', '300ms']) {
  test(`a replica that drains with drain-delay ${delay} costs no call its answer`, async (t) => {
    const { servers, call } = await startTwo(t, ['--permits', '64', '--drain-delay', delay]);
    const [leaving, staying] = servers as [ServerProcess, ServerProcess];
    const before = await answeredBy([staying]);
    let answered = 0;
    let wanted = Number.POSITIVE_INFINITY;
    const caller = async () => {
      while (answered < wanted) {
        await call();
        answered++;
      }
    };
    const callers = Promise.all(Array.from({ length: CALLERS }, caller));
    await eventually('calls are under way', () => answered > 50);
    leaving.signal('SIGTERM');
    assert.deepEqual(await leaving.exited, { code: 0, signal: null });
    wanted = answered + 50;
    await callers;
    assert.ok(((await answeredBy([staying]))[0] ?? 0) - (before[0] ?? 0) > 50);
  });
}

test('a replica that drains costs no call its answer, however large the image', async (t) => {
  const servers = await Promise.all(
    [1, 2].map(() => ServerProcess.start(t, [...SIMULATED, '--permits', '64'])),
  );
  const [leaving, staying] = servers as [ServerProcess, ServerProcess];
  const client = new PlainClient(t, `ipv4:${servers.map(({ address }) => address).join(',')}`, {
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  });
  const image = withComments(await jpeg(1), 2_000_000);
  const load = continuousLoad(4, () =>
    outcomeOf(client.classify({ image }, { timeoutMs: 20_000 })),
  );
  await eventually('both have answered', async () =>
    (await answeredBy(servers)).every((count) => count > 5),
  );
  leaving.signal('SIGTERM');
  assert.deepEqual(await leaving.exited, { code: 0, signal: null });
  const [before] = await answeredBy([staying]);
  await eventually(
    'the other one answers',
    async () => ((await answeredBy([staying]))[0] ?? 0) > (before ?? 0) + 5,
  );
  const failures = (await load.stop()).filter((outcome) => outcome instanceof CallFailure);
  assert.deepEqual(failures.map(String), []);
});

test('a call that one replica refuses for load is answered by the other', async (t) => {
  const { servers, call } = await startTwo(t, ['--permits', '1']);
  const full = servers[0] as ServerProcess;
  await full.freeze(t, 'inference');
  const occupying = new PlainClient(t, full.address);
  const leaving = new AbortController();
  const image = await plainPng([9, 9, 9]);
  const unanswered = failureOf(occupying.classify({ image }, { signal: leaving.signal }));
  await full.metricIs('vitserve_permits_in_use', {}, 1);
  const refusals = () =>
    full.metric('vitserve_requests_total', { method: 'Classify', reason: 'OVERLOADED' });
  assert.equal(await refusals(), 0);
  for (let count = 0; count < 20; count++) await call();
  assert.ok((await refusals()) >= 10, 'every second call has asked the full one first');
  leaving.abort();
  assert.equal((await unanswered).code, 'CANCELLED');
});
