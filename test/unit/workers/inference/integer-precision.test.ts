/**
 * Which CPUs overflow with uint8 · int8, which option a session gets on each, and why 7 bits never
 * overflow.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { quantizeColumns, WEIGHT_LIMITS } from '#vitserve/onnx/passes/quantize-weights.js';
import {
  INTEGER_KERNELS,
  type IntegerKernel,
  integerKernelOf,
  quantPrecision,
} from '#vitserve/workers/inference/integer-precision.js';
import { sessionOptions } from '#vitserve/workers/inference/onnxruntime.js';
import { slowForm } from '#vitserve/workers/inference/slow-form.js';

const AVX2 = 'fpu sse4_1 fma avx avx2';
const AVX512 = `${AVX2} avx512f avx512dq avx512cd avx512bw avx512vl`;

function x64(flags: string): string {
  const one = `processor\t: 0\nmodel name\t: some avx512_vnni in a name\nflags\t\t: ${flags} lm\nbugs\t\t: avx_vnni\n\n`;
  return one + one.replace('processor\t: 0', 'processor\t: 1');
}

function arm64(features: string): string {
  return `processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd ${features}crc32\nCPU implementer\t: 0x41\n\n`;
}

interface Machine {
  readonly cpu: string;
  readonly arch: string;
  readonly cpuinfo: string | null;
  readonly kernel: IntegerKernel;
  readonly precision: '0' | '1';
}

const MACHINES: readonly Machine[] = [
  {
    cpu: 'Ice Lake, Zen 4',
    arch: 'x64',
    cpuinfo: x64(`${AVX512} avx512_vnni`),
    kernel: 'avx512-vnni',
    precision: '0',
  },
  {
    cpu: 'Sapphire Rapids',
    arch: 'x64',
    cpuinfo: x64(`${AVX512} avx_vnni avx512_vnni amx_tile amx_int8`),
    kernel: 'avx512-vnni',
    precision: '0',
  },
  {
    cpu: 'Alder Lake',
    arch: 'x64',
    cpuinfo: x64(`${AVX2} avx_vnni`),
    kernel: 'avx-vnni',
    precision: '0',
  },
  { cpu: 'Skylake server', arch: 'x64', cpuinfo: x64(AVX512), kernel: 'avx512', precision: '1' },
  {
    cpu: 'AVX-512 whose VNNI a hypervisor hides',
    arch: 'x64',
    cpuinfo: x64(`${AVX512} avx_vnni`),
    kernel: 'avx512',
    precision: '1',
  },
  {
    cpu: 'Xeon Phi',
    arch: 'x64',
    cpuinfo: x64(`${AVX2} avx512f avx512cd`),
    kernel: 'avx2',
    precision: '1',
  },
  { cpu: 'Zen 3, Haswell', arch: 'x64', cpuinfo: x64(AVX2), kernel: 'avx2', precision: '1' },
  {
    cpu: 'AVX2 without FMA',
    arch: 'x64',
    cpuinfo: x64('fpu avx avx2'),
    kernel: 'sse',
    precision: '0',
  },
  { cpu: 'Ivy Bridge', arch: 'x64', cpuinfo: x64('fpu sse4_1 avx'), kernel: 'sse', precision: '0' },
  { cpu: 'x64 without /proc', arch: 'x64', cpuinfo: null, kernel: 'unknown-x64', precision: '1' },
  {
    cpu: 'x64 without a line of flags',
    arch: 'x64',
    cpuinfo: 'nothing',
    kernel: 'unknown-x64',
    precision: '1',
  },
  {
    cpu: 'Graviton 3',
    arch: 'arm64',
    cpuinfo: arm64('asimddp i8mm '),
    kernel: 'arm64-i8mm',
    precision: '0',
  },
  {
    cpu: 'Graviton 2',
    arch: 'arm64',
    cpuinfo: arm64('asimddp '),
    kernel: 'arm64-dot-product',
    precision: '0',
  },
  { cpu: 'Cortex-A72', arch: 'arm64', cpuinfo: arm64(''), kernel: 'arm64', precision: '0' },
  { cpu: 'arm64 without /proc', arch: 'arm64', cpuinfo: null, kernel: 'arm64', precision: '0' },
  {
    cpu: 'another architecture',
    arch: 's390x',
    cpuinfo: 'features\t: esan3\n',
    kernel: 'other',
    precision: '0',
  },
];

describe('the kernel that multiplies integers', () => {
  for (const { cpu, arch, cpuinfo, kernel, precision } of MACHINES) {
    test(`${cpu}: ${kernel}, x64quantprecision ${precision}`, () => {
      assert.equal(integerKernelOf(arch, cpuinfo), kernel);
      assert.equal(quantPrecision(kernel), precision);
      const { extra } = sessionOptions({}, kernel) as {
        extra: { session: Record<string, unknown> };
      };
      assert.equal(extra.session.x64quantprecision, precision);
    });
  }

  test('every kernel belongs to some machine', () => {
    const named = new Set(MACHINES.map(({ kernel }) => kernel));
    assert.deepEqual([...named].sort(), Object.keys(INTEGER_KERNELS).sort());
  });
});

test('every session gets the same option, whatever it is for', () => {
  const common = {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    extra: {
      session: {
        intra_op: { allow_spinning: '0' },
        inter_op: { allow_spinning: '0' },
        x64quantprecision: '1',
      },
    },
  };
  const plain = { ...common, executionProviders: ['cpu'], logSeverityLevel: 3 };
  assert.deepEqual(sessionOptions({}, 'avx2'), plain);
  assert.deepEqual(sessionOptions({ threads: 3 }, 'avx2'), { ...plain, intraOpNumThreads: 3 });
  assert.deepEqual(sessionOptions({ quiet: true, profilePrefix: '/tmp/p' }, 'avx2'), {
    ...plain,
    logSeverityLevel: 4,
    enableProfiling: true,
    profileFilePrefix: '/tmp/p',
  });
  assert.deepEqual(sessionOptions({ provider: 'cuda', noCpuFallback: true }, 'avx2'), {
    ...plain,
    executionProviders: ['cuda'],
    extra: { session: { ...common.extra.session, disable_cpu_ep_fallback: '1' } },
  });
});

/**
 * What vpmaddubsw does: products of two neighbours, uint8 · int8, added in 16 bits with saturation.
 */
function addedPair(activations: ArrayLike<number>, weights: ArrayLike<number>, at: number): number {
  const sum =
    (activations[at] as number) * (weights[at] as number) +
    (activations[at + 1] as number) * (weights[at + 1] as number);
  return Math.max(-32768, Math.min(32767, sum));
}

/** A dot product of even length by that instruction, pairs added in 32 bits. */
function saturatingProduct(activations: ArrayLike<number>, weights: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < activations.length; at += 2) sum += addedPair(activations, weights, at);
  return sum;
}

function exactProduct(activations: ArrayLike<number>, weights: ArrayLike<number>): number {
  return Array.from(activations).reduce(
    (sum, value, at) => sum + value * (weights[at] as number),
    0,
  );
}

describe('pairs of products in 16 bits', () => {
  test('every pair of 7-bit weights stays exact, with the worst activations', () => {
    const limit = WEIGHT_LIMITS[7];
    for (let one = -limit; one <= limit; one++) {
      for (let other = -limit; other <= limit; other++) {
        for (const activations of [
          [255, 255],
          [255, 0],
          [0, 255],
        ]) {
          assert.equal(
            addedPair(activations, [one, other], 0),
            exactProduct(activations, [one, other]),
          );
        }
      }
    }
  });

  test('8-bit weights do not', () => {
    assert.equal(addedPair([255, 255], [127, 127], 0), 32767);
    assert.equal(exactProduct([255, 255], [127, 127]), 64770);
    assert.equal(addedPair([255, 255], [-127, -127], 0), -32768);
    // From here on: 65 is the smallest weight that can overflow.
    assert.equal(addedPair([255, 255], [64, 64], 0), exactProduct([255, 255], [64, 64]));
    assert.notEqual(addedPair([255, 255], [65, 65], 0), exactProduct([255, 255], [65, 65]));
  });

  const inner = 16;
  const column = fc.array(fc.float({ noNaN: true, min: -4, max: 4 }), {
    minLength: inner,
    maxLength: inner,
  });
  const activations = fc.array(fc.integer({ min: 0, max: 255 }), {
    minLength: inner,
    maxLength: inner,
  });

  test('weights quantized to 7 bits are multiplied exactly', () => {
    fc.assert(
      fc.property(column, activations, (weights, values) => {
        const quantized = quantizeColumns(Float32Array.from(weights), inner, 1, 7).values;
        assert.equal(saturatingProduct(values, quantized), exactProduct(values, quantized));
      }),
      { numRuns: 2000 },
    );
  });

  test('a column of one weight, quantized to 8 bits, is not', () => {
    const bright = Array(inner).fill(255);
    const quantized = quantizeColumns(new Float32Array(inner).fill(0.1), inner, 1, 8).values;
    assert.equal(saturatingProduct(bright, quantized), (inner / 2) * 32767);
    assert.equal(exactProduct(bright, quantized), inner * 255 * 127);
  });
});

describe('a slow form', () => {
  const graph = { file: 'model.onnx', sha256: '0'.repeat(64) };
  const int8 = (weightBits: 7 | 8) => ({ graph: { ...graph, weightBits }, batchInvariant: false });

  test('is 8-bit int8, on the CPUs that saturate; the remedy is 7 bits', () => {
    for (const [kernel, { saturates }] of Object.entries(INTEGER_KERNELS)) {
      const found = slowForm(int8(8), 'cpu', kernel as IntegerKernel);
      assert.equal(found !== null, saturates, kernel);
      if (found !== null) {
        assert.ok(found.reason.includes(kernel));
        assert.match(found.remedy, /quantize --weight-bits 7/);
      }
      assert.equal(slowForm(int8(7), 'cpu', kernel as IntegerKernel), null);
      assert.equal(slowForm({ graph, batchInvariant: true }, 'cpu', kernel as IntegerKernel), null);
      assert.equal(slowForm(int8(8), 'cuda', kernel as IntegerKernel), null);
    }
  });

  test('is float16 on a CPU, and nowhere else', () => {
    const half = { graph, batchInvariant: 'accelerator' } as const;
    assert.match(slowForm(half, 'cpu', 'avx512-vnni')?.reason ?? '', /float16/);
    assert.equal(slowForm(half, 'cuda', 'avx512-vnni'), null);
  });
});
