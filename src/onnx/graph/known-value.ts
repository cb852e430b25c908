/** What is known of a value before anything runs. */
import { DataType, type TensorProto } from '../proto/model-proto.js';
import { intsOf } from '../proto/tensors.js';

export interface KnownValue {
  /** DataType. */
  readonly dataType: number;
  /** Null: the type is known, the shape is not. */
  readonly dims: readonly number[] | null;
  /** The elements, row by row, of small integer values that the graph computes shapes with. */
  readonly elements?: readonly number[];
}

/** Longer integer tensors are data, not shapes. */
const MOST_ELEMENTS = 64;

export function knownConstant(tensor: TensorProto): KnownValue {
  const { dataType, dims } = tensor;
  const count = dims.reduce((product, size) => product * size, 1);
  const isInteger = dataType === DataType.INT64 || dataType === DataType.INT32;
  if (!isInteger || count > MOST_ELEMENTS || tensor.externalData.length > 0)
    return { dataType, dims };
  return { dataType, dims, elements: intsOf(tensor) };
}
