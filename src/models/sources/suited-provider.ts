/**
 * Which execution provider a graph was made for. Files for the other one run, but slowly:
 * onnxruntime's CUDA provider has no kernels for dynamic int8 (its integer nodes run on the CPU,
 * with copies in between), and its CPU provider has few for float16 (it converts to float32 and
 * back around them). Source: onnxruntime `docs/OperatorKernels.md`.
 */
import type { GraphView } from './graph-view.js';

const CPU_OPERATORS = [
  'DynamicQuantizeLinear',
  'DynamicQuantizeMatMul',
  'DynamicQuantizeLSTM',
  'MatMulIntegerToFloat',
  'ConvInteger',
  'MatMulInteger',
];

export interface SuitedProvider {
  readonly provider: 'cpu' | 'cuda';
  /** A warning against serving it elsewhere. */
  readonly warning: string;
}

/** Null if the graph suits both. */
export function suitedProvider({ operators, weightTypes }: GraphView): SuitedProvider | null {
  const integer = CPU_OPERATORS.find((name) => operators.has(name));
  if (integer !== undefined) {
    return {
      provider: 'cpu',
      warning: `this file is for the CPU (${integer}), because CUDA has no kernels for its integer nodes: on a GPU serve the fp16 or fp32 file`,
    };
  }
  if (weightTypes.has('float16')) {
    return {
      provider: 'cuda',
      warning:
        'this file is for CUDA (float16 weights), because a CPU converts them back and forth: on a CPU serve the fp32 or int8 file',
    };
  }
  return null;
}
