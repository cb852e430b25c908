/** The server seen by grpc-go, which knows only what reflection tells (`go/`). Skips without Go. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { outcomeOf, PlainClient } from '../support/grpc-client.js';
import { jpeg, TEXT } from '../support/images.js';
import {
  eventually,
  ON_CPU,
  ONE_EACH,
  ServerProcess,
  suiteScope,
  temporaryFolder,
} from '../support/server.js';
import { SteppedClient } from '../support/stepped-client.js';
import { goClient } from './go-client.js';

const go = goClient();

describe('a grpc-go client', 'missing' in go ? { skip: go.missing } : {}, () => {
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
    client = new SteppedClient(scope, 'program' in go ? go.program : '', ['steps', server.address]);
    const folder = temporaryFolder(scope);
    image = join(folder, 'photo.jpg');
    text = join(folder, 'letter.txt');
    photo = await jpeg(1);
    writeFileSync(image, photo);
    writeFileSync(text, TEXT);
    const { predictions } = await plain.classify({ image: photo });
    expected = predictions.map(({ classIndex, label, score }) => [classIndex, label, score]);
  });

  test('links the reflected descriptors and gets the same answers as any client', async () => {
    assert.deepEqual(await client.step({ step: 'classify', image }), expected);
  });

  test('reads the details of an error by their own types', async () => {
    assert.deepEqual(await client.step({ step: 'failure', image: text }), {
      code: 'INVALID_ARGUMENT',
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
    const refused = (await client.step({ step: 'failure', image })) as { pushback: string };
    assert.deepEqual(refused, {
      code: 'RESOURCE_EXHAUSTED',
      pushback: refused.pushback,
      reason: 'OVERLOADED',
      domain: 'vitserve.v1',
      retryDelayMs: Number(refused.pushback),
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
});
