/**
 * Measurements as a table for people: a column for each, and a row for each figure that any of them
 * has. As data, the measurements themselves are the figures.
 */
import type { DurationSummary } from './durations.js';
import { type Load, MOST_IN_FLIGHT } from './load.js';
import type { Measurement } from './measure.js';

type Row = readonly [label: string, cell: (measurement: Measurement) => string | null];

/** From these shares and times on, a warning names the generator as a suspect. */
const BUSY_SHARE = 0.9;
const LATE_MS = 10;

export function renderReport(measurements: readonly Measurement[]): string {
  const rows = [...RATES, ...outcomeRows(measurements), ...TIMES].flatMap(
    ([label, cell]): string[][] => {
      const cells = measurements.map(cell);
      return cells.every((text) => text === null)
        ? []
        : [[label, ...cells.map((text) => text ?? '–')]];
    },
  );
  const table = [['', ...measurements.map(({ load }) => nameOf(load))], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = table.map((row) =>
    row
      .map((text, column) =>
        column === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
  return [...lines, ...transportErrors(measurements), ...measurements.flatMap(warningsOf), ''].join(
    '\n',
  );
}

/** A load as a heading: `32 callers`, `200/s`. */
export function nameOf(load: Load): string {
  if (load.kind === 'open') return `${load.ratePerSecond}/s`;
  return load.callers === 1 ? '1 caller' : `${load.callers} callers`;
}

const RATES: readonly Row[] = [
  ['calls/s', ({ callsPerSecond }) => figure(callsPerSecond)],
  ['  OK in time (goodput)', ({ goodputPerSecond }) => figure(goodputPerSecond)],
];

const TIMES: readonly Row[] = [
  ...percentileRows('latency, ms', ({ latencyMs }) => latencyMs),
  ['not OK, ms, p50', ({ failureLatencyMs }) => figureOrNull(failureLatencyMs?.p50)],
  ['           p99', ({ failureLatencyMs }) => figureOrNull(failureLatencyMs?.p99)],
  ['server, ms, mean: decode', ({ server }) => figureOrNull(server?.decodeMs.mean)],
  ['  queue', ({ server }) => figureOrNull(server?.queueMs.mean)],
  ['  inference', ({ server }) => figureOrNull(server?.inferenceMs.mean)],
  ['  elsewhere', ({ server }) => figureOrNull(server?.elsewhereMs.mean)],
  ['images per execution', ({ server }) => figureOrNull(server?.meanBatchSize)],
  ['generator, CPU-ms per call', ({ generator }) => figureOrNull(generator.cpuMsPerCall)],
  ['  busy', ({ generator }) => `${Math.round(generator.busyShare * 100)} %`],
  ['  event-loop delay, ms, p99', ({ generator }) => figure(generator.eventLoopDelayMs.p99)],
  [
    '  sent late, ms, p99',
    ({ load, sendLagMs }) => (load.kind === 'open' ? figureOrNull(sendLagMs?.p99) : null),
  ],
];

function percentileRows(
  title: string,
  of: (measurement: Measurement) => DurationSummary | null,
): Row[] {
  const columns = ['p50', 'p90', 'p99', 'p999', 'max'] as const;
  return columns.map((column, index) => {
    const name = column === 'p999' ? 'p99.9' : column;
    const label = index === 0 ? `${title}, ${name}` : `${' '.repeat(title.length + 2)}${name}`;
    return [label, (measurement) => figureOrNull(of(measurement)?.[column])];
  });
}

/** A row for each status and reason, OK first, then the most frequent. */
function outcomeRows(measurements: readonly Measurement[]): Row[] {
  const totals = new Map<string, number>();
  for (const { outcomes } of measurements) {
    for (const { code, reason, calls } of outcomes) {
      const name = outcomeName(code, reason);
      totals.set(name, (totals.get(name) ?? 0) + calls);
    }
  }
  const rank = ([name, calls]: readonly [string, number]) =>
    name === 'OK' ? Number.POSITIVE_INFINITY : calls;
  const names = [...totals].sort((a, b) => rank(b) - rank(a)).map(([name]) => name);
  return [
    ...names.map(
      (name, index): Row => [
        `${index === 0 ? 'calls:' : '      '} ${name}`,
        ({ outcomes }) => {
          const found = outcomes.filter(({ code, reason }) => outcomeName(code, reason) === name);
          return found.length === 0
            ? null
            : String(found.reduce((sum, { calls }) => sum + calls, 0));
        },
      ],
    ),
    ['       unfinished', ({ unfinished }) => (unfinished === 0 ? null : String(unfinished))],
  ];
}

/** Server or client may notice a passed deadline first, which makes no difference to the caller. */
function outcomeName(code: string, reason: string): string {
  return reason === '' || reason === code ? code : `${code} ${reason}`;
}

/**
 * The messages of errors without a reason: they come from the transport and not from the server, so
 * their code alone says little.
 */
function transportErrors(measurements: readonly Measurement[]): string[] {
  const messages = new Map<string, string>();
  for (const { code, reason, message } of measurements.flatMap(({ outcomes }) => outcomes)) {
    const tellsLittle = reason === '' && message !== '' && code !== 'DEADLINE_EXCEEDED';
    if (tellsLittle && !messages.has(code)) messages.set(code, message);
  }
  return [...messages].map(([code, message]) => `${code}, for example: ${message}`);
}

/** When the generator may have been the limit, or the measurement was cut short. */
export function warningsOf({ load, generator, sendLagMs, outcomes, lost }: Measurement): string[] {
  const name = nameOf(load);
  const warnings: string[] = [];
  if (generator.busyShare > BUSY_SHARE) {
    const share = Math.round(generator.busyShare * 100);
    warnings.push(
      `${name}: this program was busy ${share} % of the time: the figures may show its own limit`,
    );
  }
  if (load.kind === 'open' && (sendLagMs?.p99 ?? 0) > LATE_MS) {
    warnings.push(
      `${name}: calls were sent late (p99 ${figure(sendLagMs?.p99 ?? 0)} ms): latencies count from when they were due`,
    );
  }
  if (outcomes.some(({ code }) => code === 'NOT_SENT')) {
    warnings.push(
      `${name}: ${MOST_IN_FLIGHT} calls were in flight: some were due but not sent before their deadline`,
    );
  }
  if (lost) warnings.push(`${name}: stopped, because the server was unreachable`);
  return warnings;
}

function figureOrNull(value: number | null | undefined): string | null {
  return value === null || value === undefined ? null : figure(value);
}

/** Three digits, or all of those before the point. */
function figure(value: number): string {
  const decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}
