/**
 * One run: actors and faults on a server for a while, watched from outside; then silence, in which
 * every request must end; then the evidence.
 */

import { setMaxListeners } from 'node:events';
import { type DurationSummary, Durations } from '#vitserve/client/bench/durations.js';
import { type GeneratorFigures, watchGenerator } from '#vitserve/client/bench/generator.js';
import { systemClock } from '#vitserve/clock.js';
import { OwnScope, type Scope } from '../../support/server.js';
import type { Fault } from './fault-actors.js';
import { type Figures, Ledger, type Totals } from './ledger.js';
import { type Check, observe, type Sample } from './observer.js';
import { type Actor, type Pictures, pause, type Stage } from './stage.js';

/** The subject: the product, or a control that should fail. */
export interface Subject {
  readonly address: string;
  /** The address of /metrics; null: none. */
  readonly http: string | null;
  readonly pid: number;
}

export interface Plan {
  readonly subject: Subject;
  readonly pictures: Pictures;
  readonly actors: readonly Actor[];
  readonly faults?: readonly Fault[];
  readonly durationMs: number;
  /** The subject of a row of the report. */
  readonly windowMs: number;
  /** How often memory, descriptors and /metrics are read. */
  readonly sampleMs: number;
  /** How long requests may take to end after the load. */
  readonly patienceMs: number;
  readonly onWindow?: (window: Window) => void;
  /** Ends the run early. */
  readonly signal?: AbortSignal;
}

/** A part of the run. */
export interface Window {
  readonly fromSeconds: number;
  readonly seconds: number;
  readonly figures: Figures;
  readonly samples: readonly Sample[];
  readonly checks: readonly Check[];
}

export interface Evidence {
  /** How long the load lasted. */
  readonly seconds: number;
  readonly totals: Totals;
  readonly windows: readonly Window[];
  readonly samples: readonly Sample[];
  readonly health: {
    readonly tookMs: DurationSummary | null;
    readonly statuses: Readonly<Record<string, number>>;
  };
  readonly metrics: { readonly tookMs: DurationSummary | null; readonly unanswered: number };
  readonly faults: number;
  /** The load's own: if its event loop is late, latencies are partly its own. */
  readonly generator: GeneratorFigures;
}

export async function run(plan: Plan): Promise<Evidence> {
  const scope = new OwnScope();
  try {
    return await runWithin(scope, plan);
  } finally {
    await scope.end();
  }
}

async function runWithin(scope: Scope, plan: Plan): Promise<Evidence> {
  const { subject, pictures, durationMs, windowMs, sampleMs, patienceMs } = plan;
  const ledger = new Ledger();
  const enough = new AbortController();
  // Every pause of every actor listens.
  setMaxListeners(0, enough.signal);
  const stage: Stage = { scope, address: subject.address, pictures, ledger, signal: enough.signal };
  plan.signal?.addEventListener('abort', () => enough.abort(), { once: true });

  const samples: Sample[] = [];
  const checks: Check[] = [];
  const endObserving = observe(scope, { ...subject, everyMs: sampleMs }, (sight) => {
    if ('sample' in sight) samples.push(sight.sample);
    else checks.push(sight.check);
  });
  const startedAt = systemClock.now();
  const windows = new Windows(ledger, samples, checks, startedAt, plan.onWindow);
  const cutting = setInterval(() => windows.cut(), windowMs);
  scope.after(() => clearInterval(cutting));

  const generator = watchGenerator();
  // An actor that is done stays idle; one that throws ends the run.
  const broken = Promise.all(plan.actors.map((actor) => actor(stage))).then(
    () => new Promise<never>(() => {}),
  );
  const faults = Promise.all((plan.faults ?? []).map((fault) => fault(stage)));
  await Promise.race([pause(durationMs, enough.signal), broken, faults.then(() => broken)]).finally(
    () => {
      enough.abort();
    },
  );
  const seconds = (systemClock.now() - startedAt) / 1_000;
  const generatorFigures = generator.end();
  const struck = (await faults).reduce((sum, count) => sum + count, 0);
  await ledger.settled(patienceMs);
  clearInterval(cutting);
  windows.cut();
  await endObserving();

  const [healthMs, metricsMs] = [new Durations(), new Durations()];
  for (const { tookMs } of checks) healthMs.record(tookMs);
  for (const { server } of samples) if (server !== null) metricsMs.record(server.tookMs);
  return {
    seconds,
    totals: ledger.totals(),
    windows: windows.all,
    samples,
    health: { tookMs: healthMs.summary(), statuses: countedBy(checks, ({ status }) => status) },
    metrics: {
      tookMs: metricsMs.summary(),
      unanswered: samples.filter(({ server }) => server === null).length,
    },
    faults: struck,
    generator: generatorFigures,
  };
}

class Windows {
  readonly all: Window[] = [];
  readonly #ledger: Ledger;
  readonly #samples: readonly Sample[];
  readonly #checks: readonly Check[];
  readonly #startedAt: number;
  readonly #onWindow: ((window: Window) => void) | undefined;
  #from: number;
  #sampleAt = 0;
  #checkAt = 0;

  constructor(
    ledger: Ledger,
    samples: readonly Sample[],
    checks: readonly Check[],
    startedAt: number,
    onWindow: ((window: Window) => void) | undefined,
  ) {
    this.#ledger = ledger;
    this.#samples = samples;
    this.#checks = checks;
    this.#startedAt = startedAt;
    this.#from = startedAt;
    this.#onWindow = onWindow;
  }

  cut(): void {
    const now = systemClock.now();
    const window: Window = {
      fromSeconds: (this.#from - this.#startedAt) / 1_000,
      seconds: (now - this.#from) / 1_000,
      figures: this.#ledger.cut(),
      samples: this.#samples.slice(this.#sampleAt),
      checks: this.#checks.slice(this.#checkAt),
    };
    this.#from = now;
    this.#sampleAt = this.#samples.length;
    this.#checkAt = this.#checks.length;
    this.all.push(window);
    this.#onWindow?.(window);
  }
}

function countedBy<Value>(
  values: readonly Value[],
  nameOf: (value: Value) => string,
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[nameOf(value)] = (counts[nameOf(value)] ?? 0) + 1;
  return counts;
}
