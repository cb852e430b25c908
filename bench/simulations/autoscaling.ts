/**
 * What an autoscaler does with what there is to scale on: permits in use, and how busy pods are,
 * which grows with the load (CPU time, or on GPUs the share of time that inference processes
 * execute). An hour of load on simulated pods, the same on every machine. Prints a table and draws
 * docs/images/autoscaling.svg; with --check writes nothing and fails where that differs.
 *
 * The model. A pod finishes 100 images a second, one after the other, and has 400 permits, four
 * seconds of work. Calls arrive at random (Poisson) from 40 callers with round_robin; a call that
 * is rejected comes back after the pushback, five attempts at most. A caller learns of new pods
 * when one of its connections ends: at max-connection-age, or when a pod goes. Metrics are scraped
 * every 15 s and averaged over a minute; the autoscaler looks every 15 s and reckons as Kubernetes
 * does (the ratio of average to target, 10 % of tolerance, pods that are not ready counted as idle
 * when it would add some, the highest of the last 300 s when it would take some away), with the
 * chart's limits on steps. A new pod is ready after 30 s.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bench, flag } from '../lib/bench.js';
import { sum } from '../lib/figures.js';
import { ROOT } from '../lib/machine.js';

type Metric = 'permits' | 'busy';

interface Policy {
  readonly name: string;
  readonly metrics: readonly Metric[];
  readonly connectionAgeS: number;
  readonly colour: string;
}

interface Pod {
  readonly number: number;
  readonly readyAt: number;
  inUse: number;
  credit: number;
  busy: number;
  gone: boolean;
  readonly scrapes: Readonly<Record<Metric, number>>[];
}

interface Caller {
  view: Pod[];
  /** When its connection to a pod ends, by the pod's number. */
  readonly ends: Map<number, number>;
  next: number;
  resolvedAt: number;
}

interface Change {
  readonly second: number;
  readonly by: number;
}

interface Sample {
  readonly second: number;
  readonly pods: number;
  readonly calls: number;
  readonly failed: number;
}

interface Hour {
  readonly totals: Readonly<
    Record<'calls' | 'refusedFirst' | 'failed' | 'changes' | 'podSeconds', number>
  >;
  readonly seconds: readonly Sample[];
}

const IMAGES_PER_SECOND = 100;
const PERMITS = 400;
const STEP_S = 0.02;
const DURATION_S = 3600;
const CALLERS = 40;
const ATTEMPTS = 5;
const START_S = 30;
const [FEWEST, MOST] = [2, 14];
const SCRAPE_S = 15;
const AVERAGED_SCRAPES = 4;
const TARGETS: Readonly<Record<Metric, number>> = { permits: 0.5, busy: 0.7 };
const RESOLVE_AT_MOST_EVERY_S = 30;

const POLICIES: readonly Policy[] = [
  { name: 'permits alone', metrics: ['permits'], connectionAgeS: 300, colour: '#d95f02' },
  { name: 'how busy pods are, alone', metrics: ['busy'], connectionAgeS: 300, colour: '#7570b3' },
  {
    name: 'both, as in the chart',
    metrics: ['permits', 'busy'],
    connectionAgeS: 300,
    colour: '#1b9e77',
  },
  {
    name: 'both, connections for an hour',
    metrics: ['permits', 'busy'],
    connectionAgeS: 3600,
    colour: '#666666',
  },
];

/** Images a second that callers ask for: a quiet time, a step, a slow end. */
function loadAt(second: number): number {
  if (second < 300) return 120;
  if (second < 1500) return 600;
  if (second < 2100) return 600 - ((second - 1500) / 600) * 480;
  return 120;
}

/** mulberry32: the same numbers everywhere. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function poisson(mean: number, random: () => number): number {
  const limit = Math.exp(-mean);
  let count = 0;
  for (let product = random(); product > limit; product *= random()) count++;
  return count;
}

function simulate({ metrics, connectionAgeS }: Policy): Hour {
  const random = randomNumbers(7);
  let pods: Pod[] = [];
  let born = 0;
  const addPod = (readyAt: number) =>
    pods.push({ number: born++, readyAt, inUse: 0, credit: 0, busy: 0, gone: false, scrapes: [] });
  for (let count = 0; count < FEWEST; count++) addPod(0);
  const isReady = (pod: Pod, second: number) => pod.readyAt <= second;

  const callers = Array.from(
    { length: CALLERS },
    (): Caller => ({
      view: [],
      ends: new Map(),
      next: 0,
      resolvedAt: -1e9,
    }),
  );
  const resolve = (caller: Caller, second: number) => {
    caller.resolvedAt = second;
    caller.view = pods.filter((pod) => isReady(pod, second));
    caller.next = Math.floor(random() * caller.view.length);
    for (const { number } of caller.view) {
      if (!caller.ends.has(number))
        caller.ends.set(number, second + connectionAgeS * (0.9 + 0.2 * random()));
    }
  };
  for (const caller of callers) {
    resolve(caller, 0);
    // Connections were made at any time before.
    for (const [pod, end] of caller.ends) caller.ends.set(pod, end * random());
  }

  const seconds: Sample[] = [];
  const recommended: number[] = [];
  const scaledAt: Change[] = [];
  const comingBack = new Map<number, [caller: Caller, tries: number][]>();
  const totals = { calls: 0, refusedFirst: 0, failed: 0, changes: 0, podSeconds: 0 };
  let window = { calls: 0, failed: 0 };

  const attempt = (caller: Caller, tries: number, step: number) => {
    const pod = caller.view[caller.next++ % caller.view.length];
    if (pod !== undefined && pod.inUse < PERMITS) {
      pod.inUse++;
      return;
    }
    if (tries === 1) totals.refusedFirst++;
    if (tries === ATTEMPTS) {
      totals.failed++;
      window.failed++;
      return;
    }
    const pushbackS = Math.min(5, (PERMITS / IMAGES_PER_SECOND) * (0.5 + random()));
    const at = step + Math.max(1, Math.round(pushbackS / STEP_S));
    comingBack.set(at, [...(comingBack.get(at) ?? []), [caller, tries + 1]]);
  };

  for (let step = 0; step * STEP_S < DURATION_S; step++) {
    const second = step * STEP_S;
    for (const [caller, tries] of comingBack.get(step) ?? []) attempt(caller, tries, step);
    comingBack.delete(step);
    for (let count = poisson(loadAt(second) * STEP_S, random); count > 0; count--) {
      totals.calls++;
      window.calls++;
      attempt(callers[Math.floor(random() * CALLERS)] as Caller, 1, step);
    }
    for (const pod of pods) {
      if (!isReady(pod, second)) continue;
      pod.credit = Math.min(pod.credit + IMAGES_PER_SECOND * STEP_S, IMAGES_PER_SECOND * STEP_S);
      const finished = Math.min(pod.inUse, Math.floor(pod.credit));
      pod.inUse -= finished;
      pod.credit -= finished;
      pod.busy += finished / IMAGES_PER_SECOND;
    }
    if (step % (1 / STEP_S) !== 0) continue;

    for (const caller of callers) {
      const ended = caller.view.filter(
        (pod) => (caller.ends.get(pod.number) ?? 0) <= second || pod.gone,
      );
      if (ended.length === 0) continue;
      for (const { number } of ended) caller.ends.delete(number);
      if (second - caller.resolvedAt >= RESOLVE_AT_MOST_EVERY_S) resolve(caller, second);
      else caller.view = caller.view.filter((pod) => !pod.gone);
    }
    totals.podSeconds += pods.length;

    if (second % SCRAPE_S === 0) {
      for (const pod of pods) {
        if (!isReady(pod, second)) continue;
        pod.scrapes.push({ permits: pod.inUse / PERMITS, busy: pod.busy / SCRAPE_S });
        pod.busy = 0;
      }
      const wanted = Math.max(...metrics.map((metric) => proposed(pods, second, metric)));
      recommended.push(Math.min(MOST, Math.max(FEWEST, wanted)));
      const before = pods.length;
      const target = limited(before, recommended, scaledAt, second);
      while (pods.length < target) addPod(second + START_S);
      for (const pod of pods.slice(target)) pod.gone = true;
      pods = pods.slice(0, target);
      if (pods.length !== before) {
        totals.changes++;
        scaledAt.push({ second, by: pods.length - before });
      }
      seconds.push({ second, pods: before, ...window });
      window = { calls: 0, failed: 0 };
    }
  }
  return { totals, seconds };
}

/** Pods that one metric asks for, as the HorizontalPodAutoscaler reckons for metrics of pods. */
function proposed(pods: readonly Pod[], second: number, metric: Metric): number {
  const ready = pods.filter((pod) => pod.readyAt < second);
  if (ready.length === 0) return pods.length;
  const averages = ready.map(({ scrapes }) => {
    const last = scrapes.slice(-AVERAGED_SCRAPES);
    return sum(last.map((scrape) => scrape[metric])) / last.length;
  });
  const all = sum(averages);
  let ratio = all / ready.length / TARGETS[metric];
  let counted = ready.length;
  if (ratio > 1 && ready.length < pods.length) {
    ratio = all / pods.length / TARGETS[metric];
    counted = pods.length;
    if (ratio < 1) return pods.length;
  }
  return Math.abs(ratio - 1) <= 0.1 ? pods.length : Math.ceil(ratio * counted);
}

/**
 * The chart's behavior: at most twice as many every 30 s; down by a quarter a minute, to the
 * highest of the last five minutes.
 */
function limited(
  pods: number,
  recommended: readonly number[],
  scaledAt: readonly Change[],
  second: number,
): number {
  const latest = recommended.at(-1) as number;
  const changed = (within: number, sign: number) => {
    const recent = scaledAt.filter((change) => change.second > second - within);
    return sum(recent.filter(({ by }) => Math.sign(by) === sign).map(({ by }) => by));
  };
  if (latest > pods)
    return Math.min(latest, Math.max(pods, Math.ceil((pods - changed(30, 1)) * 2)));
  const highest = Math.max(...recommended.slice(-300 / SCRAPE_S));
  if (highest >= pods) return pods;
  return Math.max(highest, Math.min(pods, Math.floor((pods - changed(60, -1)) * 0.75)));
}

interface Result extends Policy, Hour {}

function tableOf(results: readonly Result[]): string {
  const percent = (part: number, whole: number) => `${((100 * part) / whole).toFixed(2)} %`;
  const rows = results.map(({ name, totals }) => [
    name,
    percent(totals.refusedFirst, totals.calls),
    percent(totals.failed, totals.calls),
    totals.changes,
    Math.round(totals.podSeconds / 60),
  ]);
  return [
    ['autoscaled on', 'refused at first', 'failed after retries', 'changes', 'pod-minutes'],
    ['---', '---', '---', '---', '---'],
    ...rows,
  ]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

interface Panel {
  readonly top: number;
  readonly height: number;
  readonly most: number;
  readonly ticks: readonly number[];
  readonly label: string;
}

function draw(results: readonly Result[]): string {
  const [width, left, right] = [860, 60, 30];
  const ticks = [0, 200, 400, 600, 800, 1000];
  const capacity: Panel = { top: 40, height: 230, most: 1000, ticks, label: 'images a second' };
  const failures: Panel = {
    top: 330,
    height: 110,
    most: 1,
    ticks: [0, 0.5, 1],
    label: 'calls failed',
  };
  const x = (second: number) => (left + (second / DURATION_S) * (width - left - right)).toFixed(1);
  const y = ({ top, height, most }: Panel, value: number) =>
    (top + height - (Math.min(value, most) / most) * height).toFixed(1);
  const line = (
    panel: Panel,
    points: readonly (readonly [second: number, value: number])[],
    colour: string,
    more = '',
  ) =>
    `<polyline fill="none" stroke="${colour}" stroke-width="1.6" ${more}points="${points
      .map(([second, value]) => `${x(second)},${y(panel, value)}`)
      .join(' ')}"/>`;
  const words = (at: number | string, top: number, content: number | string, more = '') =>
    `<text x="${at}" y="${top}" ${more}>${content}</text>`;
  const parts: string[] = [];
  for (const panel of [capacity, failures]) {
    for (const tick of panel.ticks) {
      const ends = [0, DURATION_S].map((second) => [second, tick] as const);
      parts.push(line(panel, ends, '#dddddd'));
      const shown = panel.most === 1 ? `${tick * 100} %` : tick;
      parts.push(words(left - 6, Number(y(panel, tick)) + 4, shown, 'text-anchor="end"'));
    }
    parts.push(words(left, panel.top - 8, panel.label, 'font-weight="bold"'));
    for (let minute = 0; minute <= DURATION_S / 60; minute += 10) {
      const below = panel.top + panel.height + 16;
      parts.push(words(x(minute * 60), below, `${minute} min`, 'text-anchor="middle"'));
    }
  }
  const load = Array.from(
    { length: DURATION_S / 15 + 1 },
    (_, at) => [at * 15, loadAt(at * 15)] as const,
  );
  parts.push(line(capacity, load, '#000000', 'stroke-dasharray="5 3" '));
  for (const { seconds, colour } of results) {
    const stairs = seconds.flatMap(({ second, pods }) =>
      [second, second + SCRAPE_S].map((at) => [at, pods * IMAGES_PER_SECOND] as const),
    );
    parts.push(line(capacity, stairs, colour));
    const shares = seconds.map(
      ({ second, calls, failed }) => [second, calls === 0 ? 0 : failed / calls] as const,
    );
    parts.push(line(failures, shares, colour));
  }
  let at = left;
  for (const { name, colour } of [{ name: 'load', colour: '#000000' }, ...results]) {
    parts.push(
      `<rect x="${at}" y="473" width="12" height="4" fill="${colour}"/>`,
      words(at + 17, 480, name),
    );
    at += 40 + name.length * 7;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} 495" font-family="sans-serif" font-size="12">
<title>Load, and capacity of the pods (their number × ${IMAGES_PER_SECOND} images a second), under four ways to autoscale</title>
<rect width="${width}" height="495" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`;
}

export default bench({
  about: 'an hour of load on simulated pods, autoscaled in four ways',
  options: { check: flag('only compare with the documents') },
  async run({ check }) {
    const image = join(ROOT, 'docs/images/autoscaling.svg');
    const guide = join(ROOT, 'docs/operate/scaling.md');
    const results = POLICIES.map((policy): Result => ({ ...policy, ...simulate(policy) }));
    const [drawn, table] = [draw(results), tableOf(results)];
    if (!check) {
      writeFileSync(image, drawn);
      console.log(table);
      return;
    }
    if (!existsSync(image) || readFileSync(image, 'utf8') !== drawn)
      throw new Error('docs/images/autoscaling.svg is not what is drawn today');
    if (!readFileSync(guide, 'utf8').includes(table))
      throw new Error(`docs/operate/scaling.md does not have this table:\n${table}`);
  },
});
