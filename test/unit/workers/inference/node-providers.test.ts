/** onnxruntime's profile, read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodesOf } from '#vitserve/workers/inference/node-providers.js';

test('nodes are counted by the provider that ran them', () => {
  const node = (provider: string, operator: string) => ({
    cat: 'Node',
    args: { provider, op_name: operator },
  });
  const profile = [
    { cat: 'Session', name: 'model_loading_uri', args: {} },
    node('CUDAExecutionProvider', 'MatMul'),
    node('CPUExecutionProvider', 'Gather'),
    node('CUDAExecutionProvider', 'MatMul'),
    { cat: 'Node', args: {} },
  ];
  assert.deepEqual(nodesOf(JSON.stringify(profile)), [
    { provider: 'CUDAExecutionProvider', operator: 'MatMul', count: 2 },
    { provider: 'CPUExecutionProvider', operator: 'Gather', count: 1 },
  ]);
});
