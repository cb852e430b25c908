/**
 * docs/operate/scaling.md: the simulation gives what it shows, and what it tells a metrics adapter
 * is what the chart asks for.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { blocksOf, REPOSITORY, read } from './repository.js';

test('the simulated hour is the one that the table and the plot show', () => {
  const { status, stderr } = spawnSync(
    process.execPath,
    ['dist-bench/run.js', 'autoscaling', '--check'],
    {
      cwd: REPOSITORY,
      encoding: 'utf8',
    },
  );
  assert.equal(status, 0, stderr);
});

test('the adapter makes the metrics that the chart asks for, of metrics that there are', () => {
  const adapter =
    blocksOf('docs/operate/scaling.md').find(({ name }) => name === 'adapter')?.text ?? '';
  const made = [...adapter.matchAll(/\bas: (\w+)/g)].map(([, name]) => name);
  const asked = [...read('helm/vitserve/values.yaml').matchAll(/\{ metric: (\w+), /g)].map(
    ([, name]) => name,
  );
  assert.deepEqual(made.sort(), asked.sort());
  const declared = read('src/server/telemetry/metrics.ts');
  for (const [name] of adapter.matchAll(/vitserve_\w+/g)) {
    if (!made.includes(name)) assert.ok(declared.includes(`'${name.replace(/_sum$/, '')}'`), name);
  }
});
