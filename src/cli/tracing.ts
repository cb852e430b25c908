/**
 * Whether traces are exported, and how, from the standard `OTEL_…` variables: OpenTelemetry's
 * names, so that the server is configured like everything else in a cluster. They are not options
 * of vitserve: they are set for many programs at once, so unusable ones are reported and ignored,
 * and never keep the server from starting.
 *
 * The exporter itself reads the target and the headers.
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
import type { Environment } from './environment.js';

export interface SamplerSettings {
  readonly kind: 'always_on' | 'always_off' | 'traceidratio';
  /** A caller's sampling decision applies here too. */
  readonly parentBased: boolean;
  /** 0 to 1, for `traceidratio`. */
  readonly ratio: number;
}

export interface TracingSettings {
  /** The target without credentials, for the log. */
  readonly endpoint: string;
  readonly sampler: SamplerSettings;
  readonly maxQueueSize: number;
  readonly maxExportBatchSize: number;
  readonly scheduleDelayMs: number;
  readonly exportTimeoutMs: number;
}

const USUAL_ENDPOINT = 'http://localhost:4318';
const LONGEST_MS = 24 * 3_600_000;
const MOST_SPANS = 1_000_000;

/** `settings` is null if nothing is exported; `problems` say which variables were ignored. */
export function readTracing(env: Environment): {
  readonly settings: TracingSettings | null;
  readonly problems: readonly string[];
} {
  const off = (...problems: string[]) => ({ settings: null, problems });
  const value = (name: string) => env[name]?.trim() || undefined;
  if (value('OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return off();

  const specific = value('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT');
  const endpoint = specific ?? value('OTEL_EXPORTER_OTLP_ENDPOINT');
  const exporters = value('OTEL_TRACES_EXPORTER')
    ?.split(',')
    .map((name) => name.trim());
  if (exporters === undefined ? endpoint === undefined : exporters.includes('none')) return off();
  if (exporters !== undefined && !exporters.includes('otlp')) {
    return off(
      `OTEL_TRACES_EXPORTER is ${exporters.join(',')}: vitserve exports traces by otlp only`,
    );
  }
  const protocol =
    value('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ??
    value('OTEL_EXPORTER_OTLP_PROTOCOL') ??
    'http/protobuf';
  if (protocol !== 'http/protobuf') {
    return off(
      `the OTLP protocol is ${protocol}: vitserve exports traces by http/protobuf only, usually on port 4318`,
    );
  }
  const shown = withoutCredentials(endpoint ?? USUAL_ENDPOINT);
  if (shown === null)
    return off('the OTLP endpoint is not a URL that begins with http:// or https://');

  const problems: string[] = [];
  const number = (name: string, usual: number, most: number) => {
    const text = value(name);
    if (text === undefined) return usual;
    const given = Number(text);
    if (Number.isInteger(given) && given > 0 && given <= most) return given;
    problems.push(`${name} is not a whole number from 1 to ${most}: using ${usual}`);
    return usual;
  };
  const sampler = readSampler(
    value('OTEL_TRACES_SAMPLER'),
    value('OTEL_TRACES_SAMPLER_ARG'),
    problems,
  );
  const settings = {
    endpoint: specific === undefined ? `${shown.replace(/\/$/, '')}/v1/traces` : shown,
    sampler,
    maxQueueSize: number('OTEL_BSP_MAX_QUEUE_SIZE', 2048, MOST_SPANS),
    maxExportBatchSize: number('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512, MOST_SPANS),
    scheduleDelayMs: number('OTEL_BSP_SCHEDULE_DELAY', 5_000, LONGEST_MS),
    exportTimeoutMs: number('OTEL_BSP_EXPORT_TIMEOUT', 30_000, LONGEST_MS),
  };
  return { settings, problems };
}

const SAMPLER_NAME = /^(parentbased_)?(always_on|always_off|traceidratio)$/;

function readSampler(
  name: string | undefined,
  argument: string | undefined,
  problems: string[],
): SamplerSettings {
  const [, parent, kind] = SAMPLER_NAME.exec(name ?? 'parentbased_always_on') ?? [];
  if (kind === undefined) {
    problems.push(
      `OTEL_TRACES_SAMPLER is ${name}, which vitserve does not support: using parentbased_always_on`,
    );
    return { kind: 'always_on', parentBased: true, ratio: 1 };
  }
  const ratio = argument === undefined ? 1 : Number(argument);
  const isRatio = ratio >= 0 && ratio <= 1;
  if (kind === 'traceidratio' && !isRatio)
    problems.push('OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1: using 1');
  return {
    kind: kind as SamplerSettings['kind'],
    parentBased: parent !== undefined,
    ratio: isRatio ? ratio : 1,
  };
}

/** Null if it is not an HTTP URL. */
function withoutCredentials(text: string): string | null {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) return null;
  return `${url.origin}${url.pathname === '/' ? '' : url.pathname}`;
}
