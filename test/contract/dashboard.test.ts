/** The dashboard shows every metric, and asks for none, and for no label, that there is not. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createMetrics } from '#vitserve/server/telemetry/metrics.js';
import { labelsAskedFor, labelsByMetric, metricsIn } from './promql.js';
import { readJson } from './repository.js';

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

const { panels } = readJson<{ readonly panels: readonly Panel[] }>(
  'helm/vitserve/dashboards/vitserve.json',
);
const known = labelsByMetric(createMetrics().registry);
const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

describe('the dashboard', () => {
  test('has every metric of vitserve', () => {
    const shown = new Set(expressions.flatMap(metricsIn));
    const missing = [...known.keys()].filter(
      (name) => name.startsWith('vitserve_') && !shown.has(name),
    );
    assert.deepEqual(missing, []);
  });

  test('asks for metrics and labels that there are', () => {
    for (const expression of expressions) {
      for (const name of metricsIn(expression))
        assert.ok(known.has(name), `${name} in ${expression}`);
      for (const [name, label] of labelsAskedFor(expression)) {
        assert.ok(known.get(name)?.has(label), `${label} of ${name} in ${expression}`);
      }
    }
  });

  test('names only labels in its legends that their queries give', () => {
    for (const { title, targets = [] } of panels) {
      for (const { expr, legendFormat } of targets) {
        const by = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(', ') ?? null;
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
          if (by !== null) assert.ok(by.includes(label as string), `${label} in ${title}`);
        }
      }
    }
  });

  test('has a row for each stage, and panels that are explained and don’t overlap', () => {
    const rows = panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    assert.deepEqual(rows, [
      'Overview',
      'Admission',
      'Decode',
      'Queue and batch',
      'Inference',
      'Reply',
      'Processes',
      'Memory and CPU',
      'Models and credentials',
    ]);
    const taken = new Set<string>();
    for (const { type, title, description, gridPos } of panels) {
      if (type !== 'row') assert.match(description ?? '', /\.$/, title);
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.ok(!taken.has(`${x} ${y}`), `${title} lies on another panel`);
          taken.add(`${x} ${y}`);
        }
      }
    }
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  });
});
