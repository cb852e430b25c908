/**
 * How many bits the int8 constants of a graph use: 8; 7 if no value is beyond ±64; null if there
 * are no such constants.
 *
 * 64 and not 63, because onnxruntime checks for 64 when it chooses between its ways of multiplying;
 * its own quantizer keeps to ±64 with `reduce_range`. Weights that the graph itself quantizes at
 * load are not seen.
 */
import type { ModelProto, TensorProto } from '../proto/model-proto.js';
import { DataType } from '../proto/model-proto.js';
import { intsOf } from '../proto/tensors.js';
import type { WeightBits } from './quantize-weights.js';

const LARGEST_OF_7_BITS = 64;

export function weightBitsOf({ graph }: ModelProto): WeightBits | null {
  const attributes = graph.node.flatMap(({ attribute }) => attribute);
  const constants = [
    ...graph.initializer,
    ...attributes.flatMap(({ t }) => (t === undefined ? [] : [t])),
  ];
  const integers = constants.filter(({ dataType }) => dataType === DataType.INT8);
  if (integers.length === 0) return null;
  return integers.every(isSmall) ? 7 : 8;
}

function isSmall(tensor: TensorProto): boolean {
  return intsOf(tensor).every((value) => Math.abs(value) <= LARGEST_OF_7_BITS);
}
