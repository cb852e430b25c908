/**
 * Whether a model has correct answers but a form that is slow on this CPU, and what to do about it.
 *
 * It reports the forms that were measured (docs/internals/performance.md). On Arm without dot
 * products int8 may gain little too, but there are no measurements.
 */
import type { Manifest } from '../../models/manifest.js';
import { INTEGER_KERNELS, type IntegerKernel, integerKernel } from './integer-precision.js';

export interface SlowForm {
  readonly reason: string;
  readonly remedy: string;
}

/**
 * @param provider the one that really runs
 * @param kernel what multiplies integers on the CPU
 */
export function slowForm(
  { graph, batchInvariant }: Pick<Manifest, 'graph' | 'batchInvariant'>,
  provider: string,
  kernel: IntegerKernel = integerKernel(),
): SlowForm | null {
  if (provider !== 'cpu') return null;
  if (graph.weightBits === 8 && INTEGER_KERNELS[kernel].saturates) {
    return {
      reason: `this CPU (${kernel}) multiplies 8-bit int8 weights in a slower, exact way`,
      remedy: 'quantize the float32 version with 7-bit weights: vitserve quantize --weight-bits 7',
    };
  }
  if (batchInvariant === 'accelerator') {
    return {
      reason: 'float16 is slower than float32 on a CPU',
      remedy: 'serve the float32 version, or quantize it to int8: vitserve quantize',
    };
  }
  return null;
}
