/**
 * Alerts: each has tests, an entry in the runbook, and asks for what there is; where promtool is,
 * its tests are run.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { createMetrics } from '#vitserve/server/telemetry/metrics.js';
import { labelsAskedFor, labelsByMetric, metricsIn } from './promql.js';
import { REPOSITORY, read } from './repository.js';

const RULES = 'helm/vitserve/rules/vitserve.yaml';
const TESTS = 'test/monitoring/rules.yaml';
const RUNBOOK = 'docs/operate/runbook.md';

/**
 * The text of each rule by its name, as the file is written: a rule begins with its name and ends
 * where the next one does.
 */
function rulesOf(kind: 'alert' | 'record'): Map<string, string> {
  const rules = read(RULES)
    .split(/^ {6}- (?=(?:alert|record): )/m)
    .slice(1);
  return new Map(
    rules.flatMap((rule) => {
      const [, found, name] = /^(alert|record): (\S+)/.exec(rule) ?? [];
      return found === kind ? [[name as string, rule] as const] : [];
    }),
  );
}

/** The expression of a rule on one line. */
function expressionOf(rule: string): string {
  const [, text] = /^ {8}expr: (?:>-\n)?([\s\S]*?)^ {8}\w+:/m.exec(`${rule}        end:`) ?? [];
  assert.ok(text, rule);
  return text.replace(/\s+/g, ' ').trim();
}

const alerts = rulesOf('alert');
const records = rulesOf('record');

describe('the alerts', () => {
  test('are there', () => assert.ok(alerts.size >= 20, `found ${alerts.size}`));

  test('ask for metrics and labels that there are', () => {
    const known = labelsByMetric(createMetrics().registry);
    for (const [name, rule] of [...alerts, ...records]) {
      const expression = expressionOf(rule);
      for (const metric of metricsIn(expression))
        assert.ok(known.has(metric), `${metric} in ${name}`);
      for (const [metric, label] of labelsAskedFor(expression)) {
        assert.ok(known.get(metric)?.has(label), `${label} of ${metric} in ${name}`);
      }
      for (const [recorded] of expression.matchAll(/vitserve:\w+:\w+/g)) {
        assert.ok(records.has(recorded), `${recorded} in ${name}`);
      }
    }
  });

  test('say how grave they are, what is wrong, and where to read on', () => {
    for (const [name, rule] of alerts) {
      assert.match(rule, /^ {8}labels: \{severity: (critical|warning|info)\}$/m, name);
      for (const annotation of ['summary', 'description'])
        assert.match(rule, new RegExp(`^ {10}${annotation}: .+`, 'm'));
      assert.ok(rule.includes(`runbook: ${RUNBOOK}#${name.toLowerCase()}\n`), name);
    }
  });

  test('and the runbook have the same names', () => {
    const headings = [...read(RUNBOOK).matchAll(/^### (Vitserve\w+)$/gm)].map(
      ([, heading]) => heading as string,
    );
    assert.deepEqual(headings, [...alerts.keys()]);
    for (const name of headings) {
      const entry = read(RUNBOOK).split(`### ${name}\n`)[1]?.split(/^#/m)[0] ?? '';
      for (const part of ['**Means.**', '**Look at.**', '**Do.**'])
        assert.ok(entry.includes(part), `${part} of ${name}`);
    }
  });

  test('have a test in which they fire and one in which they stay quiet', () => {
    const tests = read(TESTS)
      .split(/^ {2}- name: /m)
      .slice(1);
    for (const name of alerts.keys()) {
      const of = (what: string) => tests.find((text) => text.startsWith(`${name} ${what}\n`)) ?? '';
      assert.match(
        of('fires'),
        new RegExp(`alertname="${name}"[\\s\\S]*exp_samples: \\[\\{`),
        `${name} fires`,
      );
      assert.match(
        of('stays quiet'),
        new RegExp(`alertname="${name}"[\\s\\S]*exp_samples: \\[\\]`),
        `${name} stays quiet`,
      );
    }
    assert.equal(tests.length, 2 * alerts.size);
  });

  const hasPromtool = spawnSync('promtool', ['--version']).status === 0;
  const skip = hasPromtool
    ? false
    : 'promtool is not in the PATH: the tests of the alerts were not run';
  for (const args of [
    ['check', 'rules', RULES],
    ['test', 'rules', TESTS],
  ]) {
    test(`pass promtool ${args.join(' ')}`, { skip }, () => {
      const { status, stdout, stderr } = spawnSync('promtool', args, {
        cwd: REPOSITORY,
        encoding: 'utf8',
      });
      assert.equal(status, 0, `${stdout}${stderr}`);
    });
  }
});
