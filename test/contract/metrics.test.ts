/**
 * docs/reference/metrics.md lists every metric that vitserve declares, with its type, labels and
 * unit, and no other.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createMetrics } from '#vitserve/server/telemetry/metrics.js';
import { read, tableOf } from './repository.js';

const DOCUMENT = 'docs/reference/metrics.md';

interface Declared {
  readonly name: string;
  readonly type: string;
  readonly labelNames: readonly string[];
}

async function declare(): Promise<Declared[]> {
  const { registry } = createMetrics();
  const exposed = (await registry.getMetricsAsJSON()).filter(({ name }) =>
    name.startsWith('vitserve_'),
  );
  return exposed.map(({ name, type }) => {
    // prom-client has the labels on a field that its types leave out.
    const { labelNames } = registry.getSingleMetric(name) as unknown as Pick<
      Declared,
      'labelNames'
    >;
    return { name, type: String(type), labelNames };
  });
}

const declared = await declare();

function unitOf(name: string): string {
  const unit = /_(seconds|bytes)(_total)?$/.exec(name)?.[1];
  return (
    unit ??
    (name === 'vitserve_batch_size' ||
    /_(total|length|limit|in_use|in_flight|rejections)$/.test(name)
      ? 'count'
      : '0 or 1')
  );
}

describe('the metrics table', () => {
  const rows = tableOf(DOCUMENT, 'Name');

  test('has every metric once, in the order of the code, and no other', () => {
    assert.deepEqual(
      rows.map(({ Name }) => Name),
      declared.map(({ name }) => name),
    );
  });

  test('says of each what the code says', () => {
    const expected = declared.map(({ name, type, labelNames }) => ({
      Name: name,
      Type: type,
      Labels: labelNames.length === 0 ? '–' : labelNames.join(', '),
      Unit: unitOf(name),
    }));
    const documented = rows.map(({ Name, Type, Labels, Unit }) => ({ Name, Type, Labels, Unit }));
    assert.deepEqual(documented, expected);
    for (const { Name, Meaning } of rows)
      assert.match(Meaning ?? '', /^[A-Z0-9].*\.$/, Name as string);
  });

  test('the queries ask for metrics and labels that there are', () => {
    const names = new Map(declared.map(({ name, labelNames }) => [name, labelNames]));
    const queries = [...read(DOCUMENT).matchAll(/^```promql\n([\s\S]*?)^```$/gm)].map(
      ([, query]) => query as string,
    );
    assert.ok(queries.length > 0);
    for (const query of queries) {
      for (const [, name, selector] of query.matchAll(
        /\b(vitserve_\w+?)(?:_bucket|_sum|_count)?\b(?:\{(.*?)\})?/g,
      )) {
        const labels = names.get(name as string);
        assert.ok(labels !== undefined, `${name} in ${query}`);
        for (const [, label] of (selector ?? '').matchAll(/(\w+)\s*[=!]/g)) {
          assert.ok(labels.includes(label as string), `${label} in ${query}`);
        }
      }
    }
  });
});
