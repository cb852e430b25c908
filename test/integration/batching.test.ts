/**
 * Dynamic batching with simulated inference, whose answers and times follow from the pixels and
 * from a table.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { milliseconds, PlainClient } from '../support/grpc-client.js';
import { type Colour, exactPng, plainPng } from '../support/images.js';
import { underLoad } from '../support/load.js';
import { ServerProcess, suiteScope } from '../support/server.js';

const LARGEST = 8;
const CLASSES = 10;

describe('a server with simulated inference', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;

  before(async () => {
    server = await ServerProcess.start(scope, [
      '--execution-provider',
      `simulated:1:10,${LARGEST}:24`,
      '--permits',
      '64',
    ]);
    client = new PlainClient(scope, server.address);
  });

  test('says that it is simulated, in the model, in replies and in a metric', async () => {
    assert.equal((await client.getModel()).model.executionProvider, 'simulated');
    const { model } = await client.classify({ image: await plainPng([1, 2, 3]) });
    assert.equal(model.executionProvider, 'simulated');
    assert.equal(
      await server.metric('vitserve_model_info', { execution_provider: 'simulated' }),
      1,
    );
    assert.equal((await client.getModel()).maxBatchSize, LARGEST);
  });

  test('executes a lone image at once and alone, in the time of the table', async () => {
    const image = await plainPng([1, 2, 3]);
    for (let call = 0; call < 5; call++) {
      const { timing } = await client.classify({ image });
      assert.equal(timing.batchSize, 1);
      assert(
        milliseconds(timing.inference) >= 10 && milliseconds(timing.inference) < 24,
        JSON.stringify(timing),
      );
    }
  });

  test('executes more images together the more are waiting, up to the largest batch', async () => {
    const image = await plainPng([1, 2, 3]);
    const bucket = (le: number) => server.metric('vitserve_batch_size_bucket', { le: String(le) });
    const totals = async () => ({
      images: await server.metric('vitserve_batch_size_sum'),
      executions: await server.metric('vitserve_batch_size_count'),
      beyondHalf: (await server.metric('vitserve_batch_size_count')) - (await bucket(LARGEST / 2)),
    });
    const meanBatch = async (callers: number) => {
      const before = await totals();
      const calls = 8 * callers;
      const sizes = (await underLoad(callers, calls, () => client.classify({ image }))).map(
        ({ timing }) => timing.batchSize,
      );
      const now = await totals();
      assert(Math.max(...sizes) <= LARGEST);
      assert.equal(now.images - before.images, calls, 'the histogram has every image once');
      // According to the replies: an image of a batch of n stands for 1/n of an execution.
      const executions = sizes.reduce((sum, size) => sum + 1 / size, 0);
      assert.equal(Math.round(executions), now.executions - before.executions);
      return { mean: calls / executions, large: now.beyondHalf - before.beyondHalf };
    };
    const few = await meanBatch(2);
    const many = await meanBatch(32);
    assert(few.mean <= 2, `2 callers, batches of ${few.mean}`);
    assert.equal(few.large, 0);
    assert(many.mean > LARGEST / 2, `32 callers, batches of only ${many.mean}`);
    assert(many.large > 0);
    assert.equal(await bucket(LARGEST), await server.metric('vitserve_batch_size_count'));
  });

  test('executes together the images that gathered while its process was busy', async (t) => {
    const image = await plainPng([1, 2, 3]);
    for (const [count, sizes] of [
      [6, [1, 5]],
      [12, [1, 8, 3]],
    ] as const) {
      const thaw = await server.freeze(t, 'inference');
      const first = client.classify({ image });
      await server.metricIs('vitserve_permits_in_use', {}, 1);
      await server.metricIs('vitserve_queue_length', {}, 0);
      const others = Array.from({ length: count - 1 }, () => client.classify({ image }));
      await server.metricIs('vitserve_permits_in_use', {}, count);
      // A full batch is handed over in advance; a smaller one waits in the queue.
      await server.metricIs('vitserve_queue_length', { stage: 'batch' }, (count - 1) % LARGEST);
      await server.metricIs('vitserve_queue_length', { stage: 'decode' }, 0);
      thaw();
      const answers = await Promise.all([first, ...others]);
      assert.deepEqual(
        answers.map(({ timing }) => timing.batchSize).toSorted(),
        sizes.flatMap((size) => Array.from({ length: size }, () => size)).toSorted(),
      );
    }
  });

  test('gives every image of a batch its own answer', async () => {
    const colours = Array.from(
      { length: 60 },
      (_, at): Colour => [at * 4, 255 - at, (at * 37) % 256],
    );
    const plain = await Promise.all(colours.map((colour) => plainPng(colour)));
    const exact = await Promise.all(colours.map((_, seed) => exactPng(seed)));
    const alone = [];
    for (const { file } of exact.slice(0, 20))
      alone.push((await client.classify({ image: file })).predictions[0]?.classIndex);
    const classOf = (pixels: Uint8Array) => pixels.reduce((sum, byte) => sum + byte, 0) % CLASSES;
    assert.deepEqual(
      alone,
      exact.slice(0, 20).map(({ pixels }) => classOf(pixels)),
    );

    let together = 0;
    await underLoad(40, 240, async (index) => {
      const at = (index >> 1) % colours.length;
      if (index % 2 === 0) {
        const { embedding, timing } = await client.embed({ image: plain[at] as Buffer });
        assert.deepEqual(embedding, colours[at]);
        if (timing.batchSize > 1) together++;
      } else {
        const { file, pixels } = exact[at] as (typeof exact)[number];
        const { predictions, timing } = await client.classify({ image: file });
        assert.deepEqual(
          [predictions[0]?.classIndex, predictions[0]?.score],
          [classOf(pixels), 0.5],
        );
        if (timing.batchSize > 1) together++;
      }
    });
    assert(together > 120, `only ${together} of 240 images were executed together with others`);
  });
});
