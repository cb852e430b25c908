/** Which batch sizes a process may get, and how each is executed before the first image. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Manifest, parseManifest } from '#vitserve/models/manifest.js';
import {
  type BatchSizeSettings,
  chooseBatchSizes,
  paddedSize,
} from '#vitserve/workers/inference/batch-sizes.js';
import { warmUp } from '#vitserve/workers/inference/warm-up.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { manifestWith } from '../../models/sample-manifest.js';

function manifestThat(batchInvariant: boolean | 'accelerator'): Manifest {
  const parsed = parseManifest(JSON.stringify(manifestWith({ batchInvariant })));
  assert.ok('manifest' in parsed);
  return parsed.manifest;
}

const AUTO: BatchSizeSettings = { maxBatchSize: 'auto', executionProvider: { kind: 'auto' } };

describe('batch sizes', () => {
  const costs = [
    { batchSize: 1, milliseconds: 1 },
    { batchSize: 16, milliseconds: 4 },
  ];
  const simulated = { executionProvider: { kind: 'simulated', costs } } as const;
  for (const [what, settings, provider, invariant, largest, fixed] of [
    ['on a CPU are few, and as they come', {}, 'cpu', true, 4, null],
    ['on CUDA are a few fixed ones', {}, 'cuda', true, 32, [1, 2, 4, 8, 16, 32]],
    [
      'on CUDA go up to the largest, whatever it is',
      { maxBatchSize: 12 },
      'cuda',
      true,
      12,
      [1, 2, 4, 8, 12],
    ],
    ['on CUDA may be one alone', { maxBatchSize: 1 }, 'cuda', true, 1, [1]],
    ['go up to the last time of a simulation', simulated, 'simulated', true, 16, null],
    [
      'go no further than a simulation has times for',
      { ...simulated, maxBatchSize: 64 },
      'simulated',
      true,
      16,
      null,
    ],
    [
      'are as few as asked for in a simulation, too',
      { ...simulated, maxBatchSize: 8 },
      'simulated',
      true,
      8,
      null,
    ],
    ['are one where answers depend on the batch', { maxBatchSize: 6 }, 'cuda', false, 1, null],
    ['are one where they do on the CPU', {}, 'cpu', 'accelerator', 1, null],
    [
      'are as usual where they do on the CPU only',
      { maxBatchSize: 2 },
      'cuda',
      'accelerator',
      2,
      [1, 2],
    ],
  ] as const) {
    test(what, () => {
      const sizes = chooseBatchSizes({ ...AUTO, ...settings }, manifestThat(invariant), provider);
      assert.deepEqual(sizes, { largest, fixed });
    });
  }

  test('that are fixed are the next larger ones of a batch', () => {
    const fixed = [1, 4, 16];
    const padded = [1, 2, 4, 5, 16].map((images) => paddedSize(images, { largest: 16, fixed }));
    assert.deepEqual(padded, [1, 4, 4, 16, 16]);
    assert.equal(paddedSize(3, { largest: 16, fixed: null }), 3);
  });
});

describe('the warm-up', () => {
  /** A session that takes three times as long on the first execution of a size. */
  const run = async (costMs: (size: number) => number, sizes: Parameters<typeof warmUp>[2]) => {
    const clock = new FakeClock();
    const executed: number[] = [];
    const session = {
      run: async (_: Uint8Array, images: number) => {
        clock.advance(costMs(images) * (executed.includes(images) ? 1 : 3));
        executed.push(images);
        return { scores: new Float32Array(), embeddings: null };
      },
    };
    return { costs: await warmUp(session, new Uint8Array(), sizes, clock), executed, clock };
  };

  test('executes every fixed size, the largest first, and skips the first times', async () => {
    const { costs, executed } = await run((size) => size, { largest: 8, fixed: [1, 4, 8] });
    assert.deepEqual(executed.slice(0, 6), [8, 4, 1, 8, 4, 1]);
    assert.deepEqual(
      [...new Set(costs.map(({ batchSize, milliseconds }) => `${batchSize}:${milliseconds}`))],
      ['8:8', '4:4', '1:1'],
    );
    assert.equal(executed.length, 3 * 8);
    assert.equal(costs.length, 3 * 7);
  });

  test('executes one image and the largest batch if any size may come', async () => {
    const { executed } = await run((size) => size, { largest: 4, fixed: null });
    assert.deepEqual([...new Set(executed)], [4, 1]);
    assert.deepEqual(
      [...new Set((await run((size) => size, { largest: 1, fixed: null })).executed)],
      [1],
    );
  });

  test('of a slow model ends after a second and at least two executions of each size', async () => {
    const { executed, clock } = await run((size) => 100 * size, { largest: 4, fixed: null });
    assert.deepEqual(executed, [4, 1, 4, 1]);
    assert.equal(clock.now(), 3 * 500 + 500);
    const { executed: more } = await run(() => 60, { largest: 4, fixed: null });
    assert.equal(
      more.length,
      2 * 7,
      '0.36 s for the first two, 0.12 s for each of the next five pairs and one more',
    );
  });
});
