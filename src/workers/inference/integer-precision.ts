/**
 * Which instructions multiply uint8 activations by int8 weights on this CPU, and whether that
 * overflows.
 *
 * On x64 without VNNI the fast instruction (vpmaddubsw) adds two such products in 16 bits and
 * saturates, so a graph with 8-bit weights answers wrongly without any error. onnxruntime has an
 * option for a slower, exact way (uint8 by uint8). With it only constant weights with a value
 * beyond ±64 take the slower way; others can't overflow (255 · 64 · 2 < 2¹⁵) and stay on the fast
 * one. So the option depends on the CPU alone, and not on what a manifest says of its weights. It
 * is not set everywhere: with AMX, 8-bit weights would take the slower way for nothing.
 *
 * Names and order are those in which onnxruntime 1.30 chooses its kernels
 * (`onnxruntime/core/mlas/lib/platform.cpp`). A test that runs on avx2 CPUs shows that avx2
 * saturates and that 7 bits don't; the other rows are from onnxruntime's source.
 */
import { readFileSync } from 'node:fs';

interface KernelFacts {
  /** Whether two products of full range overflow. */
  readonly saturates: boolean;
  /** The CPUs that have it, for people to read. */
  readonly cpus: string;
}

export const INTEGER_KERNELS = {
  'avx512-vnni': { saturates: false, cpus: 'Intel from Ice Lake and Cascade Lake, AMD from Zen 4' },
  'avx-vnni': { saturates: false, cpus: 'Intel from Alder Lake, without AVX-512' },
  /** Also if a hypervisor shows AVX-VNNI but hides AVX-512 VNNI: this kernel is chosen last. */
  avx512: { saturates: true, cpus: 'Intel Skylake servers' },
  avx2: {
    saturates: true,
    cpus: 'AMD before Zen 4, Intel from Haswell, and AVX-512 without its byte instructions',
  },
  /** Widens to 16 bits before it multiplies. */
  sse: { saturates: false, cpus: 'x64 without AVX2 or FMA' },
  'arm64-i8mm': { saturates: false, cpus: 'Arm with 8-bit matrix products: Graviton 3' },
  'arm64-dot-product': {
    saturates: false,
    cpus: 'Arm with dot products: Graviton 2, Ampere Altra',
  },
  /**
   * Two products of int8 fit into 16 bits: 128 · 127 · 2 < 2¹⁵. The activations are moved to int8
   * before.
   */
  arm64: { saturates: false, cpus: 'Arm without dot products: Cortex-A72' },
  /** The exact way costs least if it was not needed. */
  'unknown-x64': { saturates: true, cpus: 'x64 without a /proc/cpuinfo to read' },
  other: { saturates: false, cpus: 'every other architecture' },
} as const satisfies Readonly<Record<string, KernelFacts>>;

export type IntegerKernel = keyof typeof INTEGER_KERNELS;

const AVX512_CORE = ['avx512f', 'avx512bw', 'avx512dq', 'avx512vl'];

/**
 * @param arch as `process.arch`
 * @param cpuinfo the text of `/proc/cpuinfo`, or null if there is none
 */
export function integerKernelOf(arch: string, cpuinfo: string | null): IntegerKernel {
  if (arch === 'arm64') {
    const has = listed(cpuinfo, 'Features');
    if (has('i8mm')) return 'arm64-i8mm';
    return has('asimddp') ? 'arm64-dot-product' : 'arm64';
  }
  if (arch !== 'x64') return 'other';
  if (cpuinfo === null) return 'unknown-x64';
  const has = listed(cpuinfo, 'flags');
  if (!has('avx2') || !has('fma')) return has('fpu') ? 'sse' : 'unknown-x64';
  if (AVX512_CORE.every(has)) return has('avx512_vnni') ? 'avx512-vnni' : 'avx512';
  return has('avx_vnni') ? 'avx-vnni' : 'avx2';
}

/**
 * Whether the first CPU's line of this name lists a word; Linux lists for each what all of them
 * can.
 */
function listed(cpuinfo: string | null, name: string): (word: string) => boolean {
  const line = new RegExp(`^${name}\\s*:(.*)$`, 'm').exec(cpuinfo ?? '')?.[1] ?? '';
  const words = new Set(line.trim().split(/\s+/));
  return (word) => words.has(word);
}

let known: IntegerKernel | undefined;

/** The kernel of this machine. */
export function integerKernel(): IntegerKernel {
  known ??= integerKernelOf(process.arch, readCpuinfo());
  return known;
}

function readCpuinfo(): string | null {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return null;
  }
}

/**
 * The value of onnxruntime's `session.x64quantprecision`: `1` is exact where the fast instruction
 * would saturate.
 */
export function quantPrecision(kernel: IntegerKernel = integerKernel()): '0' | '1' {
  return INTEGER_KERNELS[kernel].saturates ? '1' : '0';
}
