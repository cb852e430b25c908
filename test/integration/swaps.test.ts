/**
 * Versions that are swapped one after another under load: no call fails, and nothing is left
 * behind.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg } from '../support/images.js';
import { continuousLoad } from '../support/load.js';
import { memoryOf, treeOf } from '../support/process-tree.js';
import { Repository } from '../support/repository.js';
import { eventually, ON_CPU, ONE_EACH, ServerProcess } from '../support/server.js';

const SWAPS = 20;
const CALLERS = 8;
/**
 * Of the memory of all processes from after the second swap to after the last. It is a few percent,
 * and one reading more or less tells; processes that stay would be a multiple.
 */
const LARGEST_GROWTH = 0.5;

/** Names and labels of vitserve's own series, without the version. */
async function seriesOf(server: ServerProcess): Promise<string[]> {
  const { text } = await server.get('/metrics');
  // A version shows the costs of the batches that it has executed, whose sizes depend on the load.
  const lines = text.split('\n').filter((line) => /^vitserve_(?!batch_cost_seconds)/.test(line));
  return lines
    .map((line) => line.replace(/version="\d+"/, 'version="*"').replace(/ \S+$/, ''))
    .map((series) => series.replace(/(role="inference",index=)"\d+"/, '$1"*"'))
    .sort();
}

test('twenty swaps under load fail no call and leave nothing behind', async (t) => {
  const repository = new Repository(t);
  repository.put('small', 1);
  const server = await ServerProcess.start(t, [
    ...ON_CPU,
    ...ONE_EACH,
    '--model-repository',
    repository.folder,
  ]);
  const client = new PlainClient(t, server.address);
  const images = await Promise.all([0, 1, 2, 3].map((seed) => jpeg(seed)));
  const expected = await Promise.all(
    images.map(async (image) => (await client.classify({ image })).predictions),
  );
  const processes = server.childPids().length;

  const versions = new Set<string>();
  const load = continuousLoad(CALLERS, async (index) => {
    const at = index % images.length;
    try {
      const { predictions, model } = await client.classify({ image: images[at] as Buffer });
      assert.deepEqual(predictions, expected[at]);
      versions.add(model.version);
      return null;
    } catch (error) {
      return error;
    }
  });
  /** Lets the next version take over, and waits until the old one is gone. */
  const swapTo = async (version: number) => {
    repository.put('small', version);
    server.signal('SIGHUP');
    await server.logged('model served', ({ model }) => model === `small/${version}`);
    await server.logged('model retired', ({ model }) => model === `small/${version - 1}`);
  };

  await swapTo(2);
  await swapTo(3);
  const series = await seriesOf(server);
  const memory = memoryOf(treeOf(server.pid));
  for (let version = 4; version <= SWAPS + 1; version++) await swapTo(version);
  await eventually('the last version answers', () => versions.has(String(SWAPS + 1)));
  const memoryAfter = memoryOf(treeOf(server.pid));
  const outcomes = await load.stop();

  assert.deepEqual(
    outcomes.filter((outcome) => outcome !== null),
    [],
  );
  t.diagnostic(`${outcomes.length} calls, answered by ${versions.size} versions`);
  assert.ok(versions.size > SWAPS / 2, `only ${versions.size} versions were asked`);
  await eventually('as many processes as before', () => server.childPids().length === processes);
  assert.deepEqual(await seriesOf(server), series);
  assert.equal(await server.metric('vitserve_model_failures_total'), 0);
  await server.metricIs('vitserve_permits_in_use', {}, 0);
  if (memory === null || memoryAfter === null) return;
  const growth = memoryAfter / memory - 1;
  const percent = `${(growth * 100).toFixed(1)} %`;
  t.diagnostic(`${memory.toFixed(0)} MiB after 2 swaps, ${percent} more after ${SWAPS}`);
  assert.ok(growth < LARGEST_GROWTH, `memory grew by ${percent}`);
});
