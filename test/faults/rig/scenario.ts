/**
 * What the scenarios share: their server, the capacity of the machine, how the server must be
 * afterwards.
 */
import { eventually, isAlive, ON_CPU, OwnScope, ServerProcess } from '../../support/server.js';
import { closedCallers } from './load-actors.js';
import { headingLine, summary, windowLine } from './report.js';
import { type Evidence, type Plan, run, type Subject } from './run.js';
import { drawBad, drawGood, knowPictures, openClient, type Pictures } from './stage.js';

export interface Context {
  readonly scope: OwnScope;
  readonly durationMs: number;
  /** Flags for the server, after those of the scenario. */
  readonly serverFlags: readonly string[];
  /** Image files instead of drawn ones; null: drawn. */
  readonly photos: readonly Buffer[] | null;
  /** On the model, even if the scenario's own choice is a simulated accelerator. */
  readonly onModel: boolean;
  /** The one part of the scenario to play; null: all. */
  readonly only: string | null;
  /** A line of the report. */
  readonly say: (line: string) => void;
  /** Aborted: ends the load and reports it. */
  readonly signal: AbortSignal;
}

export type Ending = { readonly reasons: readonly string[] } | { readonly skipped: string };

export interface Scenario {
  readonly about: string;
  readonly durationMs: number;
  play(context: Context): Promise<Ending>;
}

export interface Started {
  readonly server: ServerProcess;
  readonly subject: Subject;
  readonly pictures: Pictures;
}

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
const ROWS = 10;
const SAMPLES_A_WINDOW = 12;
const LONGEST_SAMPLE_MS = 5 * SECOND;
export const PATIENCE_MS = 30 * SECOND;
/** By when a server has noticed that the other end is gone. */
const KEEPALIVE_MS = 100 * SECOND;

/** A server on its own, two processes of each kind, and its answers while all is well. */
export async function startServer(
  context: Context,
  flags: readonly string[] = [],
): Promise<Started> {
  const { scope, serverFlags, photos } = context;
  const two = ['--decoder-processes', '2', '--inference-processes', '2'];
  const provider = flags.includes('--execution-provider') ? [] : ON_CPU;
  const server = await ServerProcess.start(scope, [...provider, ...two, ...flags, ...serverFlags]);
  const subject = {
    address: server.address,
    http: String((await server.logged('serving')).http),
    pid: server.pid,
  };
  const asking = new OwnScope();
  const client = openClient({ scope: asking, address: server.address });
  const pictures = await knowPictures(client, photos ?? (await drawGood()), await drawBad());
  await asking.end();
  return { server, subject, pictures };
}

/** Right answers a second with enough callers to keep the server busy. */
export async function measureCapacity(
  { subject, pictures }: Started,
  context: Context,
  callers = 32,
): Promise<number> {
  const durationMs = Math.min(15 * SECOND, Math.max(2 * SECOND, context.durationMs / 5));
  const plan = {
    subject,
    pictures,
    windowMs: durationMs,
    sampleMs: durationMs,
    patienceMs: PATIENCE_MS,
  };
  const actors = [closedCallers(callers)];
  await run({ ...plan, actors, durationMs: SECOND, signal: context.signal });
  const { totals, seconds } = await run({ ...plan, actors, durationMs, signal: context.signal });
  const capacity = totals.right / seconds;
  context.say(
    `capacity: ${capacity.toFixed(1)} right answers a second with ${callers} callers, over ${seconds.toFixed(0)} s`,
  );
  return capacity;
}

/** A run with its report: a row a minute, or ten rows in all if it is shorter. */
export async function reported(
  context: Context,
  plan: Pick<Plan, 'subject' | 'pictures' | 'actors' | 'faults'> & { readonly durationMs?: number },
): Promise<Evidence> {
  const durationMs = plan.durationMs ?? context.durationMs;
  const windowMs = Math.min(MINUTE, durationMs / ROWS);
  context.say(headingLine());
  const evidence = await run({
    ...plan,
    durationMs,
    windowMs,
    sampleMs: Math.min(LONGEST_SAMPLE_MS, windowMs / SAMPLES_A_WINDOW),
    patienceMs: PATIENCE_MS,
    onWindow: (window) => context.say(windowLine(window)),
    signal: context.signal,
  });
  context.say('');
  context.say(summary(evidence));
  return evidence;
}

/**
 * Reasons why the server differs from before, with all callers gone; then it is stopped, which must
 * go gracefully.
 */
export async function aftermath({ server, subject, pictures }: Started): Promise<string[]> {
  const reasons: string[] = [];
  for (const gauge of [
    'vitserve_permits_in_use',
    'vitserve_uploads_in_flight',
    'vitserve_queue_length',
  ]) {
    await server.metricIs(gauge, {}, 0).catch(() => reasons.push(`${gauge} does not fall to 0`));
  }
  const scope = new OwnScope();
  const client = openClient({ scope, address: subject.address });
  const again = await knowPictures(
    client,
    pictures.good.map(({ image }) => image),
    pictures.bad.map(({ image }) => image),
  ).catch((error: unknown) => error);
  await scope.end();
  if (JSON.stringify(again) !== JSON.stringify(pictures))
    reasons.push('afterwards the answers are others than before');
  await eventually(
    '',
    async () => (await server.metric('vitserve_connections_in_use')) === 0,
    KEEPALIVE_MS,
  ).catch(() => {
    reasons.push('connections stay open without a client');
  });
  const { code, signal } = await server.stop();
  if (code !== 0) reasons.push(`it ended with ${signal ?? `exit code ${code}`} and not with 0`);
  if (server.childrenLeft().some(isAlive)) reasons.push('it left processes behind');
  const faults = server.lines.filter(({ level }) => level === 'error' || level === 'fatal');
  if (faults.length > 0) reasons.push(`it logged ${faults.length} errors (${faults[0]?.msg})`);
  return reasons;
}
