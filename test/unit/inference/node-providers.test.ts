/** onnxruntime's profile, read; and which CPUs need the exact way of multiplying integers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { saturates } from '#vitserve/inference/integer-precision.js';
import { nodesOf } from '#vitserve/inference/node-providers.js';

test('nodes are counted by the provider that ran them', () => {
  const node = (provider: string, operator: string) => ({ cat: 'Node', args: { provider, op_name: operator } });
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

test('a CPU with VNNI of either width does not saturate; one without does', () => {
  const cpuinfo = (flags: string) =>
    `processor\t: 0\nmodel name\t: some avx512_vnni in a name\nflags\t\t: fpu ${flags} sse\n\n`;
  assert.equal(saturates(cpuinfo('avx2 avx512f avx512_vnni')), false);
  assert.equal(saturates(cpuinfo('avx2 avx_vnni')), false);
  assert.equal(saturates(cpuinfo('avx2 avx512f')), true);
});
