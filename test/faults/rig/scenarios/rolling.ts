/**
 * Two replicas behind a balancer, restarted in turns like a rolling update. Callers that retry like
 * the shipped client see no failure; of the others, the report gives the share that does.
 */
import { VitserveClient } from '#vitserve/client/client.js';
import { PlainClient } from '../../../support/grpc-client.js';
import { freePort, ON_CPU, ServerProcess } from '../../../support/server.js';
import { balancerVersion, type Replica, startBalancer } from '../balancer.js';
import type { Fault } from '../fault-actors.js';
import { type Asked, poissonCallers } from '../load-actors.js';
import { summary } from '../report.js';
import { run } from '../run.js';
import { type Context, MINUTE, PATIENCE_MS, type Scenario } from '../scenario.js';
import { drawBad, drawGood, knowPictures, openClient, type Stage } from '../stage.js';
import { countsText } from '../verdict.js';

const RESTARTS = 10;
const RATE_EACH = 30;
/** Of calls without retries. */
const FAILED_SHARE = 0.0001;
/** Five times what the balancer needs to see it. */
const FLAGS = ['--decoder-processes', '1', '--inference-processes', '1', '--drain-delay', '1s'];

export const rolling: Scenario = {
  about: '10 rolling restarts of two replicas behind HAProxy: callers who retry see no error',
  durationMs: 2 * MINUTE,
  async play(context) {
    const version = balancerVersion();
    if (version === null) return { skipped: 'there is no haproxy on this machine' };
    context.say(version);
    const replicas: Replica[] = [];
    for (let at = 0; at < 2; at++)
      replicas.push({ port: await freePort(), httpPort: await freePort() });
    const servers = await Promise.all(replicas.map((replica) => startReplica(context, replica)));
    const balancer = await startBalancer(context.scope, replicas);
    await balancer.hasReplicas(2);
    const asking = openClient({ scope: context.scope, address: balancer.address });
    const pictures = await knowPictures(
      asking,
      context.photos ?? (await drawGood()),
      await drawBad(),
    );

    const over = new AbortController();
    const exits: (number | null)[] = [];
    const restart: Fault = async () => {
      for (let turn = 0; turn < RESTARTS && !context.signal.aborted; turn++) {
        const at = turn % servers.length;
        exits.push((await (servers[at] as ServerProcess).stop()).code);
        servers[at] = await startReplica(context, replicas[at] as Replica);
        await balancer.hasReplicas(servers.length);
      }
      over.abort();
      return exits.length;
    };
    const evidence = await run({
      subject: { address: balancer.address, http: null, pid: balancer.pid },
      pictures,
      actors: [
        poissonCallers(RATE_EACH, { name: 'retrying', connect: retrying }, 1),
        poissonCallers(RATE_EACH, { name: 'not retrying', connect: notRetrying }, 2),
      ],
      faults: [restart],
      // The restarts end it.
      durationMs: Math.max(context.durationMs, 10 * MINUTE),
      windowMs: 10 * MINUTE,
      sampleMs: 10 * MINUTE,
      patienceMs: PATIENCE_MS,
      signal: over.signal,
    });
    context.say(summary(evidence));
    return { reasons: judge(context, evidence.totals, exits) };
  },
};

function judge(
  context: Context,
  totals: Awaited<ReturnType<typeof run>>['totals'],
  exits: readonly (number | null)[],
): string[] {
  const reasons: string[] = [];
  const none = { sent: 0, right: 0 };
  const [patient, plain] = [
    totals.byActor.retrying ?? none,
    totals.byActor['not retrying'] ?? none,
  ];
  const share = 1 - plain.right / plain.sent;
  context.say(`${'restarts'.padEnd(24)}  ${exits.length}, exit codes ${exits.join(' ')}`);
  context.say(
    `${'errors seen, retrying'.padEnd(24)}  ${patient.sent - patient.right} of ${patient.sent}`,
  );
  context.say(
    `${'errors, not retrying'.padEnd(24)}  ${plain.sent - plain.right} of ${plain.sent} (${(100 * share).toFixed(3)} %)`,
  );
  if (exits.length < RESTARTS) reasons.push(`there were ${exits.length} restarts`);
  if (exits.some((code) => code !== 0)) reasons.push(`replicas ended with ${exits.join(' ')}`);
  if (patient.right !== patient.sent || patient.sent === 0) {
    const seen = { ...totals.failed, ...totals.refused };
    reasons.push(
      `${patient.sent - patient.right} of ${patient.sent} calls that retry saw an error (${countsText(seen)})`,
    );
  }
  if (share > FAILED_SHARE)
    reasons.push(`${(100 * share).toFixed(3)} % of the calls that do not retry saw an error`);
  if (totals.wrong > 0) reasons.push(`${totals.wrong} answers were wrong`);
  if (totals.lost > 0) reasons.push(`${totals.lost} requests were lost`);
  return reasons;
}

function startReplica(
  { scope, serverFlags }: Context,
  { port, httpPort }: Replica,
): Promise<ServerProcess> {
  const addresses = ['--address', `127.0.0.1:${port}`, '--http-address', `127.0.0.1:${httpPort}`];
  return ServerProcess.start(scope, [...ON_CPU, ...FLAGS, ...addresses, ...serverFlags]);
}

function retrying({ scope, address }: Stage): Asked {
  const client = new VitserveClient(address, { ownConnection: true });
  scope.after(() => client.close());
  return {
    classify: (request, settings) => client.classify(request, settings),
    embed: (request, settings) => client.embed(request, settings),
  };
}

function notRetrying({ scope, address }: Stage): Asked {
  return new PlainClient(scope, address);
}
