/** What the server does if CUDA is requested but missing. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg } from '../support/images.js';
import { ONE_EACH, ServerProcess } from '../support/server.js';

const WITHOUT_CUDA = existsSync('/dev/nvidiactl') ? { skip: 'this machine has an NVIDIA GPU' } : {};

test(
  'cuda requested by name and absent: one clear line and exit code 1',
  WITHOUT_CUDA,
  async (t) => {
    const server = ServerProcess.spawn(t, [...ONE_EACH, '--execution-provider', 'cuda']);
    assert.deepEqual(await server.exited, { code: 1, signal: null });
    const errors = server.lines.filter(({ level }) => level === 'error');
    assert.equal(errors.length, 1, server.output);
    assert.match(
      errors[0]?.msg ?? '',
      /^execution-provider: cuda can't be used here: the CUDA provider of onnxruntime is not installed: run "vitserve install-cuda" \(or set execution-provider to auto or cpu\)$/,
    );
    assert(!server.lines.some(({ msg }) => msg === 'serving'));
    assert.equal(server.stderr, '');
  },
);

test(
  'auto without CUDA serves from the CPU and says so in the log, in metrics and in replies',
  WITHOUT_CUDA,
  async (t) => {
    const server = await ServerProcess.start(t, [...ONE_EACH, '--execution-provider', 'auto']);
    const fallback = await server.logged('CUDA is not available: running on the CPU');
    assert.equal(fallback.level, 'warn');
    assert.match(String(fallback.reason), /\S/);
    assert.equal(await server.metric('vitserve_execution_provider_fallback'), 1);
    assert.equal(
      await server.metric('vitserve_model_info', {
        model: 'vit-cifar10',
        execution_provider: 'cpu',
      }),
      1,
    );
    assert.equal(await server.metric('vitserve_model_info'), 1);
    const client = new PlainClient(t, server.address);
    assert.equal((await client.classify({ image: await jpeg(1) })).model.executionProvider, 'cpu');
  },
);

test('cpu requested by name is not a fallback', async (t) => {
  const server = await ServerProcess.start(t, [...ONE_EACH, '--execution-provider', 'cpu']);
  assert.equal(await server.metric('vitserve_execution_provider_fallback'), 0);
  assert(!server.lines.some(({ level }) => level === 'warn'), server.output);
});
