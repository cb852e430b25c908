/** What a query in PromQL asks for, as far as texts tell. */
import type { Registry } from 'prom-client';

/** Added by Prometheus to everything that it scrapes, and by the operator of Kubernetes. */
const TARGET_LABELS = ['job', 'instance', 'namespace'];

/** The labels that each metric of a registry can have. */
export function labelsByMetric(registry: Registry): ReadonlyMap<string, ReadonlySet<string>> {
  const metrics = registry.getMetricsAsArray() as unknown as readonly {
    readonly name: string;
    readonly labelNames: readonly string[];
  }[];
  return new Map(
    metrics.map(({ name, labelNames }) => [name, new Set([...labelNames, ...TARGET_LABELS])]),
  );
}

const METRIC =
  /\b((?:vitserve|nodejs|process)_\w+?)(?:_bucket|_sum|_count)?(?![\w:])(?:\{([^}]*)\})?/g;

/**
 * Metrics of vitserve and of Node by name; a histogram by its own, whichever of its series is asked
 * for.
 */
export function metricsIn(expression: string): string[] {
  return [...expression.matchAll(METRIC)].map(([, name]) => name as string);
}

/** Every metric with every label that is looked at in a selector of it. */
export function labelsAskedFor(expression: string): (readonly [metric: string, label: string])[] {
  return [...expression.matchAll(METRIC)].flatMap(([, name, selector = '']) =>
    [...selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(
      ([, label]) => [name as string, label as string] as const,
    ),
  );
}
