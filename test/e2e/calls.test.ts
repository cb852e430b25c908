/**
 * Every call of the contract, through the built program and the default model, by a plain client.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { type OpenSession, openSession, Tensor } from '#vitserve/workers/inference/onnxruntime.js';
import {
  failureOf,
  milliseconds,
  PlainClient,
  readDetails,
  SERVICE,
} from '../support/grpc-client.js';
import { exactPng, jpeg, MODEL_SIDE, TEXT, webp } from '../support/images.js';
import { MODELS, ON_CPU, ONE_EACH, ServerProcess, suiteScope } from '../support/server.js';

const MODEL_FOLDER = join(MODELS, 'vit-cifar10/1');
const manifest = JSON.parse(readFileSync(join(MODEL_FOLDER, 'model.json'), 'utf8')) as {
  labels: string[];
};

describe('the built server with the default model', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let graph: OpenSession;

  before(async () => {
    server = await ServerProcess.start(scope, [...ON_CPU, ...ONE_EACH]);
    client = new PlainClient(scope, server.address);
    graph = await openSession(join(MODEL_FOLDER, 'model.onnx'));
  });

  const run = async (pixels: Uint8Array) => {
    const feed = new Tensor('uint8', pixels, [1, MODEL_SIDE, MODEL_SIDE, 3]);
    const { probabilities, embedding } = await graph.run({ pixels: feed });
    return {
      probabilities: probabilities?.data as Float32Array,
      embedding: embedding?.data as Float32Array,
    };
  };

  test('a lossless picture of the model’s size gets the graph’s own answer', async () => {
    for (const seed of [1, 2, 3]) {
      const { file, pixels } = await exactPng(seed);
      const { probabilities } = await run(pixels);
      const { predictions } = await client.classify({ image: file, topK: manifest.labels.length });
      const scores = new Map(predictions.map(({ classIndex, score }) => [classIndex, score]));
      assert.equal(scores.size, manifest.labels.length);
      probabilities.forEach((probability, classIndex) => {
        const score = scores.get(classIndex) ?? Number.NaN;
        assert(
          Math.abs(score - probability) < 1e-6,
          `class ${classIndex}: ${score}, not ${probability}`,
        );
      });
    }
  });

  test('predictions come best first, five by default, with the manifest’s labels', async () => {
    const image = await jpeg(1);
    const usual = await client.classify({ image });
    assert.equal(usual.predictions.length, 5);
    for (const { classIndex, label } of usual.predictions)
      assert.equal(label, manifest.labels[classIndex]);
    const scores = usual.predictions.map(({ score }) => score);
    assert.deepEqual(
      scores,
      scores.toSorted((a, b) => b - a),
    );
    const three = await client.classify({ image, topK: 3 });
    assert.deepEqual(three.predictions, usual.predictions.slice(0, 3));
    const all = await client.classify({ image, topK: 1_000_000 });
    assert.equal(all.predictions.length, manifest.labels.length);
    assert.deepEqual(all.predictions.slice(0, 5), usual.predictions);
    const sum = all.predictions.reduce((total, { score }) => total + score, 0);
    assert(Math.abs(sum - 1) < 1e-5, `probabilities sum up to ${sum}`);
  });

  test('a reply says which model answered and where the time went', async () => {
    const { model, timing } = await client.classify({ image: await webp(1) });
    assert.deepEqual(model, { name: 'vit-cifar10', version: '1', executionProvider: 'cpu' });
    assert.equal(timing.batchSize, 1);
    assert(milliseconds(timing.decode) > 0);
    assert(milliseconds(timing.inference) > 0);
    assert(milliseconds(timing.queue) >= 0);
  });

  test('a call may name the model', async () => {
    const { model } = await client.classify({ image: await jpeg(2), model: 'vit-cifar10' });
    assert.equal(model.name, 'vit-cifar10');
  });

  test('an embedding is the graph’s own, and has length 1 if requested', async () => {
    const { file, pixels } = await exactPng(4);
    const { embedding } = await run(pixels);
    const plain = await client.embed({ image: file });
    assert.equal(plain.embedding.length, embedding.length);
    plain.embedding.forEach((value, at) => {
      assert(
        Math.abs(value - (embedding[at] as number)) < 1e-5,
        `value ${at}: ${value}, not ${embedding[at]}`,
      );
    });
    const length = Math.hypot(...plain.embedding);
    assert(
      Math.abs(length - 1) > 0.01,
      'this embedding happens to have length 1, so it shows nothing',
    );
    const scaled = await client.embed({ image: file, normalize: true });
    assert(Math.abs(Math.hypot(...scaled.embedding) - 1) < 1e-5);
    scaled.embedding.forEach((value, at) => {
      assert(Math.abs(value * length - (plain.embedding[at] as number)) < 1e-4);
    });
    assert.deepEqual(scaled.model, { name: 'vit-cifar10', version: '1', executionProvider: 'cpu' });
  });

  test('an embedding may be cut to its first values', async () => {
    const image = await jpeg(5);
    const whole = (await client.embed({ image })).embedding;
    const cut = (await client.embed({ image, dimensions: 64 })).embedding;
    assert.deepEqual(cut, whole.slice(0, 64));
    const scaled = (await client.embed({ image, dimensions: 64, normalize: true })).embedding;
    assert.equal(scaled.length, 64);
    assert(Math.abs(Math.hypot(...scaled) - 1) < 1e-5);
    for (const dimensions of [-1, 193]) {
      const { reason, message } = await failureOf(client.embed({ image, dimensions }));
      assert.equal(reason, 'DIMENSIONS_OUT_OF_RANGE');
      assert.equal(message, `dimensions is ${dimensions}: send 1 to 192, or 0 for all`);
    }
  });

  test('a stream of embeddings answers as Embed does', async () => {
    const images = await Promise.all([1, 2, 3].map((seed) => jpeg(seed)));
    const stream = client.embedStream();
    for (const [at, image] of images.entries())
      stream.send(String(at), { image, normalize: at === 1 });
    stream.send('text', { image: TEXT });
    stream.send('too many', { image: images[0] as Buffer, dimensions: 1_000 });
    stream.finish();
    assert.equal(await stream.ended, null);
    const answers = stream.byId();
    assert.equal(answers.size, 5);
    for (const [at, image] of images.entries()) {
      const { embedding, model } = await client.embed({ image, normalize: at === 1 });
      const { response } = answers.get(String(at)) ?? {};
      assert.equal(response?.model.name, model.name);
      const differences = response.embedding.map((value, index) =>
        Math.abs(value - (embedding[index] as number)),
      );
      assert.equal(differences.length, 192);
      assert(Math.max(...differences) < 1e-5);
    }
    const reasonOf = (id: string) => {
      const { status } = answers.get(id) ?? {};
      assert(status);
      return readDetails(status).reason;
    };
    assert.equal(reasonOf('text'), 'IMAGE_UNSUPPORTED');
    assert.equal(reasonOf('too many'), 'DIMENSIONS_OUT_OF_RANGE');
  });

  test('a stream answers every image under its id, and a bad one with a status', async () => {
    const good = await Promise.all([1, 2, 3, 4].map((seed) => jpeg(seed)));
    const expected = await Promise.all(good.map((image) => client.classify({ image })));
    const stream = client.stream();
    stream.send('first', { image: good[0] as Buffer });
    stream.send('second', { image: good[1] as Buffer });
    stream.send('text', { image: TEXT });
    stream.send('none', null);
    stream.send('third', { image: good[2] as Buffer, topK: 2 });
    stream.send('other model', { image: good[3] as Buffer, model: 'resnet' });
    stream.send('fourth', { image: good[3] as Buffer });
    stream.finish();
    assert.equal(await stream.ended, null);
    assert.equal(stream.messages.length, 7);

    const answers = stream.byId();
    ['first', 'second', 'third', 'fourth'].forEach((id, at) => {
      const { result, response } = answers.get(id) ?? {};
      assert.equal(result, 'response', id);
      const { predictions } = expected[at] ?? { predictions: [] };
      assert.deepEqual(
        response?.predictions,
        id === 'third' ? predictions.slice(0, 2) : predictions,
        id,
      );
    });
    const refusal = (id: string) => {
      const { result, status } = answers.get(id) ?? {};
      assert.equal(result, 'status', id);
      assert(status);
      return { code: status.code, ...readDetails(status) };
    };
    const common = { domain: 'vitserve.v1', retryDelayMs: null };
    assert.deepEqual(refusal('text'), {
      code: 3,
      reason: 'IMAGE_UNSUPPORTED',
      field: 'image',
      ...common,
    });
    assert.deepEqual(refusal('none'), {
      code: 3,
      reason: 'REQUEST_MISSING',
      field: 'request',
      ...common,
    });
    assert.deepEqual(refusal('other model'), {
      code: 5,
      reason: 'MODEL_UNKNOWN',
      field: 'model',
      ...common,
    });
  });

  test('a stream of missing requests only is answered to its end', async () => {
    const stream = client.stream();
    for (const id of ['a', 'b', 'c']) stream.send(id, null);
    stream.finish();
    assert.equal(await stream.ended, null);
    assert.deepEqual(stream.messages.map(({ requestId }) => requestId).toSorted(), ['a', 'b', 'c']);
  });

  test('an empty stream ends at once with OK', async () => {
    const stream = client.stream();
    stream.finish();
    assert.equal(await stream.ended, null);
    assert.deepEqual(stream.messages, []);
  });

  test('the model is described, alone and in the list', async () => {
    const model = await client.getModel();
    assert.deepEqual(model, {
      model: { name: 'vit-cifar10', version: '1', executionProvider: 'cpu' },
      classCount: 10,
      labels: manifest.labels,
      inputHeight: 32,
      inputWidth: 32,
      embeddingSize: 192,
      maxBatchSize: 4,
    });
    assert.deepEqual(await client.getModel('vit-cifar10'), model);
    assert.deepEqual(await client.listModels({ pageSize: 10 }), {
      models: [model],
      nextPageToken: '',
    });
    assert.equal((await failureOf(client.getModel('resnet'))).reason, 'MODEL_UNKNOWN');
  });

  test('health knows the server and the service, and no other name', async () => {
    assert.equal(await client.check(''), 'SERVING');
    assert.equal(await client.check(SERVICE), 'SERVING');
    assert.equal((await failureOf(client.check('another.Service'))).code, 'NOT_FOUND');
  });

  test('a health watch begins with the present status and stays open, for any name', async () => {
    for (const [name, status] of [
      ['', 'SERVING'],
      [SERVICE, 'SERVING'],
      ['another.Service', 'SERVICE_UNKNOWN'],
    ] as const) {
      const watch = client.watch(name);
      await watch.count(1);
      assert.equal(await client.check(), 'SERVING');
      assert.deepEqual(watch.statuses, [status], `watch of "${name}"`);
      watch.cancel();
      assert.equal((await watch.ended)?.code, 'CANCELLED');
    }
  });

  test('reflection lists the services', async () => {
    const services = await client.reflectedServices();
    for (const name of [SERVICE, 'grpc.health.v1.Health'])
      assert(services.includes(name), `${name} in ${services}`);
  });

  test('the HTTP port answers probes and metrics, and nothing else', async () => {
    assert.deepEqual(await server.get('/livez'), {
      status: 200,
      text: 'alive\n',
      type: 'text/plain; charset=utf-8',
    });
    const ready = await server.get('/readyz');
    assert.deepEqual([ready.status, ready.text], [200, 'ready\n']);
    const metrics = await server.get('/metrics');
    assert.equal(metrics.status, 200);
    assert.match(metrics.type, /^text\/plain; version=0\.0\.4/);
    assert.match(metrics.text, /^vitserve_state\{state="serving"\} 1$/m);
    assert.equal((await server.get('/')).status, 404);
  });

  test('calls are counted by method, code and reason', async () => {
    const ok = { method: 'Classify', code: 'OK', reason: '' };
    const refused = { method: 'Classify', code: 'INVALID_ARGUMENT', reason: 'IMAGE_UNSUPPORTED' };
    const before = [
      await server.metric('vitserve_requests_total', ok),
      await server.metric('vitserve_requests_total', refused),
    ];
    await client.classify({ image: await jpeg(5) });
    await failureOf(client.classify({ image: TEXT }));
    await server.metricIs('vitserve_requests_total', ok, (before[0] ?? 0) + 1);
    await server.metricIs('vitserve_requests_total', refused, (before[1] ?? 0) + 1);
  });
});

test('without reflection that service is unknown, and the other calls work', async (t) => {
  const server = await ServerProcess.start(t, [...ON_CPU, ...ONE_EACH, '--no-reflection']);
  const client = new PlainClient(t, server.address);
  assert.equal((await failureOf(client.reflectedServices())).code, 'UNIMPLEMENTED');
  assert.equal((await client.classify({ image: await jpeg(1) })).predictions.length, 5);
});
