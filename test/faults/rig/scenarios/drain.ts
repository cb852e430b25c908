/**
 * SIGTERM in the middle of everything: calls and streams in flight, half-finished uploads, an open
 * Watch, and in every second round a process that hangs. Every admitted call is answered, every
 * later one refused, and the server ends in time with exit code 0.
 */
import type { Fault } from '../fault-actors.js';
import { sumOf } from '../ledger.js';
import { poissonCallers } from '../load-actors.js';
import { run } from '../run.js';
import {
  type Context,
  MINUTE,
  measureCapacity,
  PATIENCE_MS,
  type Scenario,
  SECOND,
  startServer,
} from '../scenario.js';
import { openClient, pause } from '../stage.js';
import { streams } from '../stream-actors.js';
import { slowUploads } from '../upload-actors.js';
import { countsText, reasonsToFail } from '../verdict.js';

const SHARE = 0.5;
const ROUND_MS = 15 * SECOND;
const LOAD_MS = 2 * SECOND;
const UPLOAD_MS = 1_500;
const DELAY_MS = SECOND;
const HANG_MS = 2 * SECOND;
/** A whole process must end, and another be started and warmed up if one hung. */
const MARGIN_MS = 3 * SECOND;
const FLAGS = [
  ...['--drain-delay', `${DELAY_MS}ms`, '--drain-timeout', '20s'],
  ...['--inference-timeout', `${HANG_MS}ms`],
];

export const drain: Scenario = {
  about:
    'SIGTERM at 50 % load with streams, slow uploads, a Watch, and a hung process in every second round',
  durationMs: 2 * MINUTE,
  async play(context) {
    const rounds = Math.max(2, Math.floor(context.durationMs / ROUND_MS));
    const reasons: string[] = [];
    let rate: number | null = null;
    context.say(
      'round  hung process  sent  right  refused                              failed  ended after, s  exit code',
    );
    for (let round = 0; round < rounds && !context.signal.aborted; round++) {
      const started = await startServer(context, FLAGS);
      rate ??= SHARE * (await measureCapacity(started, context));
      reasons.push(
        ...(await playRound(context, started, rate, round % 2 === 1)).map(
          (reason) => `round ${round + 1}: ${reason}`,
        ),
      );
    }
    return { reasons };
  },
};

async function playRound(
  context: Context,
  { server, subject, pictures }: Awaited<ReturnType<typeof startServer>>,
  rate: number,
  hangs: boolean,
): Promise<string[]> {
  const watch = openClient({ scope: context.scope, address: subject.address }).watch();
  const over = new AbortController();
  let endedAfterMs = Number.NaN;
  const terminate: Fault = async ({ signal }) => {
    await pause(LOAD_MS, signal);
    const [victim] = server.children('inference');
    if (hangs && victim !== undefined) process.kill(victim.pid, 'SIGSTOP');
    const since = performance.now();
    server.signal('SIGTERM');
    await server.exited;
    endedAfterMs = performance.now() - since;
    over.abort();
    return 1;
  };
  const evidence = await run({
    subject,
    pictures,
    actors: [poissonCallers(rate), streams(2), slowUploads(2, UPLOAD_MS)],
    faults: [terminate],
    durationMs: MINUTE,
    windowMs: MINUTE,
    sampleMs: SECOND,
    patienceMs: PATIENCE_MS,
    signal: over.signal,
  });
  const reasons = reasonsToFail(evidence, {
    refusals: ['OVERLOADED', 'DRAINING', 'NO_CONNECTION'],
    memoryGrowthMib: Number.POSITIVE_INFINITY,
    descriptorGrowth: Number.POSITIVE_INFINITY,
  });
  await watch.ended;
  if (watch.statuses.join() !== 'SERVING,NOT_SERVING')
    reasons.push(`the Watch saw ${watch.statuses.join()}`);
  const { code, signal } = await server.exited;
  if (code !== 0) reasons.push(`it ended with ${signal ?? `exit code ${code}`}`);
  const limitMs = DELAY_MS + UPLOAD_MS + (hangs ? HANG_MS : 0) + MARGIN_MS;
  if (endedAfterMs > limitMs)
    reasons.push(`it ended after ${Math.round(endedAfterMs)} ms, more than ${limitMs}`);
  if (server.childrenLeft().length > 0) reasons.push('it left processes behind');
  const { sent, right, refused, failed } = evidence.totals;
  context.say(
    [
      ''.padStart(5),
      (hangs ? 'yes' : 'no').padStart(12),
      String(sent).padStart(4),
      String(right).padStart(5),
      countsText(refused).padEnd(35),
      String(sumOf(failed)).padStart(6),
      (endedAfterMs / SECOND).toFixed(1).padStart(14),
      String(code).padStart(9),
    ].join('  '),
  );
  return reasons;
}
