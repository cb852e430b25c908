/**
 * The server seen by a client that shares no code with it: grpcio, Google's own for Python
 * (`grpcio_client.py`), and its packages for rich errors, health and reflection.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { outcomeOf, PlainClient, SERVICE } from '../support/grpc-client.js';
import { jpeg, TEXT } from '../support/images.js';
import { pythonWith } from '../support/python.js';
import {
  eventually,
  ON_CPU,
  ONE_EACH,
  REPOSITORY,
  ServerProcess,
  suiteScope,
  temporaryFolder,
} from '../support/server.js';
import { SteppedClient } from '../support/stepped-client.js';

const MODULES = [
  'grpc',
  'grpc_tools.protoc',
  'grpc_status.rpc_status',
  'grpc_health.v1.health_pb2_grpc',
  'grpc_reflection.v1alpha.proto_reflection_descriptor_database',
  'google.rpc.error_details_pb2',
];
const python = pythonWith(MODULES);
const missing =
  'no Python with grpcio, grpcio-tools, -status, -health-checking and -reflection, in tools/.venv or as python3';

describe('a grpcio client', python === null ? { skip: missing } : {}, () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let plain: PlainClient;
  let client: SteppedClient;
  let photo: Buffer;
  let image: string;
  let text: string;
  let expected: [number, string, number][];

  before(async () => {
    server = await ServerProcess.start(scope, [...ON_CPU, ...ONE_EACH, '--permits', '1']);
    plain = new PlainClient(scope, server.address);
    client = new SteppedClient(scope, python ?? '', [
      'test/integration/grpcio_client.py',
      server.address,
      join(REPOSITORY, 'proto'),
    ]);
    const folder = temporaryFolder(scope);
    image = join(folder, 'photo.jpg');
    text = join(folder, 'letter.txt');
    photo = await jpeg(1);
    writeFileSync(image, photo);
    writeFileSync(text, TEXT);
    const { predictions } = await plain.classify({ image: photo });
    expected = predictions.map(({ classIndex, label, score }) => [classIndex, label, score]);
  });

  test('gets the same answers as any client', async () => {
    assert.deepEqual(await client.step({ step: 'classify', image }), expected);
    const { embedding } = await plain.embed({ image: photo, normalize: true });
    assert.deepEqual(await client.step({ step: 'embed', image }), embedding);
    assert.deepEqual(await client.step({ step: 'stream', image }), { good: expected, bad: 3 });
  });

  test('reads the details of an error by their own types', async () => {
    assert.deepEqual(await client.step({ step: 'failure', image: text }), {
      code: 'INVALID_ARGUMENT',
      sameMessage: true,
      pushback: null,
      reason: 'IMAGE_UNSUPPORTED',
      domain: 'vitserve.v1',
      fields: ['image'],
    });
  });

  test('is told when to retry, and with a retry policy the library does so itself', async (t) => {
    const thaw = await server.freeze(t, 'inference');
    const holder = outcomeOf(plain.classify({ image: photo }));
    await server.metricIs('vitserve_permits_in_use', {}, 1);
    const refused = (await client.step({ step: 'failure', image })) as {
      pushback: string;
      retryDelayMs: number;
    };
    const pushbackMs = Number(refused.pushback);
    assert(Number.isInteger(pushbackMs) && pushbackMs >= 10);
    assert.deepEqual(refused, {
      code: 'RESOURCE_EXHAUSTED',
      sameMessage: true,
      pushback: refused.pushback,
      reason: 'OVERLOADED',
      domain: 'vitserve.v1',
      retryDelayMs: pushbackMs,
    });

    const overloaded = () => server.metric('vitserve_requests_total', { reason: 'OVERLOADED' });
    const before = await overloaded();
    const retrying = client.step({ step: 'retried', image });
    await eventually('an attempt is refused', async () => (await overloaded()) > before);
    thaw();
    await holder;
    const { calls, predictions } = (await retrying) as { calls: number; predictions: unknown };
    assert.deepEqual(predictions, expected);
    const attempts = (await overloaded()) - before + 1;
    assert(
      attempts > calls,
      `${calls} calls made ${attempts} attempts: the library has not retried`,
    );
  });

  test('gives up at its deadline', async (t) => {
    await server.freeze(t, 'inference');
    assert.equal(await client.step({ step: 'late', image }), 'DEADLINE_EXCEEDED');
  });

  test('checks health by both names, and learns that another is unknown', async () => {
    for (const [name, status] of [
      ['', 'SERVING'],
      [SERVICE, 'SERVING'],
      ['another.Service', 'NOT_FOUND'],
    ]) {
      assert.equal(
        await client.step({ step: 'check', arguments: [name] }),
        status,
        `Check of "${name}"`,
      );
    }
  });

  test('links the reflected descriptors and makes a call with them alone', async () => {
    assert.deepEqual(await client.step({ step: 'reflect', image }), {
      services: ['grpc.health.v1.Health', SERVICE],
      // Whether the caller streams, whether the server does.
      methods: {
        Classify: [false, false],
        ClassifyStream: [true, true],
        Embed: [false, false],
        GetModel: [false, false],
        ListModels: [false, false],
      },
      predictions: expected.slice(0, 3),
    });
  });

  test('sees in its watch that the server stops, and that the watch ends', async () => {
    assert.deepEqual(await client.step({ step: 'watch' }), ['SERVING']);
    server.signal('SIGTERM');
    assert.deepEqual(await client.step({ step: 'watched' }), ['SERVING', 'NOT_SERVING']);
    assert.deepEqual(await server.exited, { code: 0, signal: null });
  });
});
