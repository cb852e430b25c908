/** Evidence as text: a row for each window, then the figures of the whole run. */
import type { DurationSummary } from '#vitserve/client/bench/durations.js';
import { sumOf } from './ledger.js';
import type { Evidence, Window } from './run.js';
import { median } from './slope.js';
import { countsText, descriptorGrowth, loopDelay, memorySlope } from './verdict.js';

type Column = readonly [title: string, cell: (window: Window) => string];

const COLUMNS: readonly Column[] = [
  ['from', ({ fromSeconds }) => clockText(fromSeconds)],
  ['sent', ({ figures }) => String(figures.sent)],
  ['right', ({ figures }) => String(figures.right)],
  ['refused', ({ figures }) => String(sumOf(figures.refused))],
  ['cancelled', ({ figures }) => String(figures.cancelled)],
  ['expired', ({ figures }) => String(figures.expired)],
  ['failed', ({ figures }) => String(sumOf(figures.failed))],
  ['wrong', ({ figures }) => String(figures.wrong)],
  ['p50 ms', ({ figures }) => figure(figures.rightMs?.p50)],
  ['p99 ms', ({ figures }) => figure(figures.rightMs?.p99)],
  ['health p99', ({ checks }) => figure(percentile99(checks.map(({ tookMs }) => tookMs)))],
  ['MiB', ({ samples }) => figure(middle(samples.map(({ memoryMib }) => memoryMib)))],
  [
    'files',
    ({ samples }) => figure(middle(samples.map(({ frontDescriptors }) => frontDescriptors))),
  ],
  ['children', ({ samples }) => figure(middle(samples.map(({ processes }) => processes - 1)))],
  [
    'lost so far',
    ({ samples }) => figure(samples.findLast(({ server }) => server !== null)?.server?.losses),
  ],
];
const MINIMUM_WIDTH = 6;
const widthOf = ([title]: Column) => Math.max(title.length, MINIMUM_WIDTH);

export function headingLine(): string {
  return COLUMNS.map((column) => column[0].padStart(widthOf(column))).join('  ');
}

export function windowLine(window: Window): string {
  return COLUMNS.map((column) => column[1](window).padStart(widthOf(column))).join('  ');
}

export function summary(evidence: Evidence): string {
  const { totals, health, metrics, samples, seconds, generator } = evidence;
  const memory = memorySlope(samples);
  const front = memorySlope(samples, 'frontMib');
  const loop = loopDelay(samples);
  const growth = descriptorGrowth(samples);
  const handles = samples.flatMap(({ server }) => (server === null ? [] : [server.handles]));
  const actors = Object.entries(totals.byActor).map(
    ([name, { sent, right }]) => `${name} ${right} of ${sent}`,
  );
  const lines: (readonly [string, string])[] = [
    ['load', `${seconds.toFixed(1)} s, ${totals.sent} requests, ${evidence.faults} faults`],
    ['answered right', `${totals.right} (${(totals.right / seconds).toFixed(1)} a second)`],
    ['  by actor', actors.join('; ')],
    ['answered wrong', String(totals.wrong)],
    ['refused', countsText(totals.refused)],
    ['failed', countsText(totals.failed)],
    ['cancelled by us', String(totals.cancelled)],
    ['deadline passed', String(totals.expired)],
    ['lost', String(totals.lost)],
    ['right, ms', summaryText(totals.rightMs)],
    ['refusals, ms', summaryText(totals.refusedMs)],
    ['Health Check, ms', `${summaryText(health.tookMs)}; ${countsText(health.statuses)}`],
    ['/metrics, ms', `${summaryText(metrics.tookMs)}; ${metrics.unanswered} unanswered`],
  ];
  if (loop !== null) {
    const { p99, worstP99, max } = loop;
    lines.push([
      'event loop of the front',
      `late by, ms: p99 ${ms(p99)} (worst sample ${ms(worstP99)}), max ${ms(max)}`,
    ]);
  }
  for (const [name, slope] of [
    ['memory of all processes', memory] as const,
    ['memory of the front', front] as const,
  ]) {
    if (slope === null) continue;
    const { mibPerHour, grownMib } = slope;
    const between = `95 %: ${mibPerHour.low.toFixed(1)} to ${mibPerHour.high.toFixed(1)}`;
    lines.push([
      name,
      `second half: ${mibPerHour.slope.toFixed(1)} MiB/h (${between}), ${grownMib.slope.toFixed(1)} MiB in all`,
    ]);
  }
  if (growth !== null)
    lines.push([
      'descriptors of the front',
      `last quarter ${growth >= 0 ? '+' : ''}${growth} against the second`,
    ]);
  if (handles.length > 1)
    lines.push([
      'handles of the front',
      `${middle(handles.slice(0, 5))} at first, ${middle(handles.slice(-5))} at last`,
    ]);
  const { busyShare, eventLoopDelayMs } = generator;
  lines.push([
    'the load itself',
    `event loop busy ${(busyShare * 100).toFixed(0)} %, late by, ms: p99 ${ms(eventLoopDelayMs.p99)}, max ${ms(eventLoopDelayMs.max)}`,
  ]);
  return lines.map(([name, text]) => `${name.padEnd(24)}  ${text}`).join('\n');
}

export function verdictText(reasons: readonly string[]): string {
  return reasons.length === 0 ? 'HOLDS' : `FAILS, because ${reasons.join('; ')}`;
}

export function summaryText(durations: DurationSummary | null): string {
  if (durations === null) return '–';
  const { p50, p99, max } = durations;
  return `p50 ${ms(p50)}, p99 ${ms(p99)}, max ${ms(max)}`;
}

function clockText(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

function ms(value: number): string {
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}

function figure(value: number | null | undefined): string {
  return value === null || value === undefined || Number.isNaN(value)
    ? '–'
    : ms(value).replace(/\.0$/, '');
}

function middle(values: readonly (number | null)[]): number {
  return median(values.filter((value) => value !== null));
}

function percentile99(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b).at(Math.floor(values.length * 0.99)) ?? Number.NaN;
}
