/**
 * Typed access to constants, and constants from typed values.
 *
 * ONNX keeps a tensor's values in one of several places (TensorProto in onnx.proto); this module
 * hides that. Every read checks that there are as many values as the dims say, and problems name
 * the tensor. Values are little-endian in `rawData`, which is also the byte order of every
 * supported machine.
 */
import { SetupError } from '../../errors.js';
import {
  bfloat16ToNumber,
  float16ToNumber,
  narrowToFloat16,
  widenBfloat16,
  widenFloat16,
} from './float16.js';
import { DataType, type TensorProto } from './model-proto.js';

/** Names as NumPy writes them, and bits an element (0: no fixed size). */
const TYPES: Readonly<Record<number, readonly [name: string, bits: number]>> = {
  [DataType.FLOAT]: ['float32', 32],
  [DataType.UINT8]: ['uint8', 8],
  [DataType.INT8]: ['int8', 8],
  [DataType.UINT16]: ['uint16', 16],
  [DataType.INT16]: ['int16', 16],
  [DataType.INT32]: ['int32', 32],
  [DataType.INT64]: ['int64', 64],
  [DataType.STRING]: ['string', 0],
  [DataType.BOOL]: ['bool', 8],
  [DataType.FLOAT16]: ['float16', 16],
  [DataType.DOUBLE]: ['float64', 64],
  [DataType.UINT32]: ['uint32', 32],
  [DataType.UINT64]: ['uint64', 64],
  14: ['complex64', 64],
  15: ['complex128', 128],
  [DataType.BFLOAT16]: ['bfloat16', 16],
  17: ['float8e4m3fn', 8],
  18: ['float8e4m3fnuz', 8],
  19: ['float8e5m2', 8],
  20: ['float8e5m2fnuz', 8],
  21: ['uint4', 4],
  22: ['int4', 4],
};

function reject(tensor: TensorProto, problem: string): SetupError {
  return new SetupError('environment', [`tensor "${tensor.name}" ${problem}`]);
}

/**
 * The name of an element type in lower case, such as `float32`, `float16`, `int64`, `uint8`; `type
 * 99` for an unknown one.
 */
export function typeNameOf(dataType: number): string {
  return TYPES[dataType]?.[0] ?? `type ${dataType}`;
}

/**
 * Bytes of one element in `rawData`; undefined for types without a whole number of them (STRING, 4
 * bit) and unknown ones.
 */
export function elementSizeOf(dataType: number): number | undefined {
  const bits = TYPES[dataType]?.[1] ?? 0;
  return bits >= 8 ? bits / 8 : undefined;
}

/** Elements of these dims; 1 for a scalar. */
export function elementCountOf(dims: readonly number[]): number {
  return dims.reduce((count, dim) => count * dim, 1);
}

/** Elements of a tensor whose dims are checked. Throws SetupError. */
function countOf(tensor: TensorProto): number {
  const count = elementCountOf(tensor.dims);
  if (
    tensor.dims.some((dim) => !Number.isSafeInteger(dim) || dim < 0) ||
    !Number.isSafeInteger(count)
  ) {
    throw reject(tensor, `has dims [${tensor.dims}], which no constant can have`);
  }
  return count;
}

/**
 * The size of the values as `rawData`, wherever they are now. Throws SetupError for unknown types.
 */
export function byteSizeOf(tensor: TensorProto): number {
  if (tensor.dataType === DataType.STRING)
    return tensor.stringData.reduce((sum, { length }) => sum + length, 0);
  const bits = TYPES[tensor.dataType]?.[1];
  if (bits === undefined)
    throw reject(tensor, `has element ${typeNameOf(tensor.dataType)}, which is not supported`);
  return Math.ceil((countOf(tensor) * bits) / 8);
}

/**
 * The bytes of a tensor that keeps its values in `rawData`; null for one that keeps them in a list.
 */
function rawBytesOf(tensor: TensorProto): Uint8Array | null {
  const { rawData } = tensor;
  if (rawData === undefined) {
    if (tensor.externalData.length > 0)
      throw reject(tensor, 'has its values in another file, which was not read');
    return null;
  }
  const expected = byteSizeOf(tensor);
  if (rawData.length !== expected) {
    const type = typeNameOf(tensor.dataType);
    throw reject(
      tensor,
      `has ${rawData.length} bytes, and ${type} [${tensor.dims}] takes ${expected}`,
    );
  }
  return rawData;
}

function checkedList<Value>(tensor: TensorProto, list: readonly Value[]): readonly Value[] {
  const expected = countOf(tensor);
  if (list.length === expected) return list;
  throw reject(tensor, `has ${list.length} values; its dims [${tensor.dims}] take ${expected}`);
}

/** The bytes at a multiple of `alignment`, for typed arrays: as they are, or copied. */
function aligned(bytes: Uint8Array, alignment: number): Uint8Array {
  return bytes.byteOffset % alignment === 0 ? bytes : bytes.slice();
}

/**
 * The values of a FLOAT, FLOAT16, BFLOAT16 or DOUBLE tensor. A view of the model's bytes if these
 * are aligned float32, so don't write into it. Throws SetupError for other types, and if number and
 * dims don't fit.
 */
export function floatsOf(tensor: TensorProto): Float32Array {
  const raw = rawBytesOf(tensor);
  switch (tensor.dataType) {
    case DataType.FLOAT: {
      if (raw === null) return Float32Array.from(checkedList(tensor, tensor.floatData));
      const bytes = aligned(raw, 4);
      return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    }
    case DataType.DOUBLE: {
      if (raw === null) return Float32Array.from(checkedList(tensor, tensor.doubleData));
      const bytes = aligned(raw, 8);
      return Float32Array.from(new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8));
    }
    case DataType.FLOAT16:
      return raw === null
        ? Float32Array.from(checkedList(tensor, tensor.int32Data), float16ToNumber)
        : widenFloat16(raw);
    case DataType.BFLOAT16:
      return raw === null
        ? Float32Array.from(checkedList(tensor, tensor.int32Data), bfloat16ToNumber)
        : widenBfloat16(raw);
    default:
      throw reject(
        tensor,
        `is ${typeNameOf(tensor.dataType)} where floating-point numbers are needed`,
      );
  }
}

/** How integers of a type are read from bytes. */
const INTEGER_READERS: Readonly<
  Record<number, (view: DataView, offset: number) => number | bigint>
> = {
  [DataType.UINT8]: (view, offset) => view.getUint8(offset),
  [DataType.INT8]: (view, offset) => view.getInt8(offset),
  [DataType.BOOL]: (view, offset) => view.getUint8(offset),
  [DataType.UINT16]: (view, offset) => view.getUint16(offset, true),
  [DataType.INT16]: (view, offset) => view.getInt16(offset, true),
  [DataType.INT32]: (view, offset) => view.getInt32(offset, true),
  [DataType.UINT32]: (view, offset) => view.getUint32(offset, true),
  [DataType.INT64]: (view, offset) => view.getBigInt64(offset, true),
  [DataType.UINT64]: (view, offset) => view.getBigUint64(offset, true),
};

/**
 * Throws SetupError unless a tensor holds as many values as its dims say. Does not check values in
 * another file.
 */
export function checkTensor(tensor: TensorProto): void {
  const external = tensor.externalData.length > 0 && tensor.rawData === undefined;
  if (external || rawBytesOf(tensor) !== null) {
    byteSizeOf(tensor);
    return;
  }
  switch (tensor.dataType) {
    case DataType.FLOAT:
      checkedList(tensor, tensor.floatData);
      return;
    case DataType.DOUBLE:
      checkedList(tensor, tensor.doubleData);
      return;
    case DataType.STRING:
      checkedList(tensor, tensor.stringData);
      return;
    default:
      // Four-bit and complex values share list entries in ways of their own.
      if (
        elementSizeOf(tensor.dataType) !== undefined &&
        !typeNameOf(tensor.dataType).startsWith('complex')
      ) {
        checkedList(tensor, integerListOf(tensor));
      }
  }
}

/**
 * The values of an integer or BOOL tensor. 64-bit values beyond the safe integers become the
 * largest or smallest of these: exporters write 2^63 - 1 for "to the end". Throws SetupError for
 * other types.
 */
export function intsOf(tensor: TensorProto): number[] {
  const read = INTEGER_READERS[tensor.dataType];
  if (read === undefined)
    throw reject(tensor, `is ${typeNameOf(tensor.dataType)} where whole numbers are needed`);
  const raw = rawBytesOf(tensor);
  if (raw === null) return checkedList(tensor, integerListOf(tensor)).map(safeInteger);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const size = elementSizeOf(tensor.dataType) ?? 1;
  return Array.from({ length: raw.length / size }, (_, index) =>
    safeInteger(read(view, index * size)),
  );
}

function safeInteger(value: number | bigint): number {
  return Math.min(Math.max(Number(value), Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
}

function integerListOf(tensor: TensorProto): readonly (number | bigint)[] {
  if (tensor.dataType === DataType.INT64) return tensor.int64Data;
  if (tensor.dataType === DataType.UINT64 || tensor.dataType === DataType.UINT32)
    return tensor.uint64Data;
  return tensor.int32Data;
}

/**
 * A tensor of values that are already little-endian bytes of `dataType` (a view, not a copy).
 * Throws SetupError if their number is wrong.
 */
export function rawTensor(
  name: string,
  dataType: number,
  dims: readonly number[],
  rawData: Uint8Array,
): TensorProto {
  const tensor: TensorProto = {
    dims: [...dims],
    dataType,
    name,
    docString: '',
    rawData,
    floatData: [],
    int32Data: [],
    int64Data: [],
    stringData: [],
    doubleData: [],
    uint64Data: [],
    externalData: [],
    dataLocation: 0,
  };
  rawBytesOf(tensor);
  return tensor;
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A FLOAT tensor. A Float32Array is taken as it is (a view, not a copy). */
export function float32Tensor(
  name: string,
  dims: readonly number[],
  values: ArrayLike<number>,
): TensorProto {
  const floats = values instanceof Float32Array ? values : Float32Array.from(values);
  return rawTensor(name, DataType.FLOAT, dims, bytesOf(floats));
}

/** A FLOAT16 tensor, values rounded to nearest even. */
export function float16Tensor(
  name: string,
  dims: readonly number[],
  values: ArrayLike<number>,
): TensorProto {
  return rawTensor(name, DataType.FLOAT16, dims, narrowToFloat16(values));
}

export function int64Tensor(
  name: string,
  dims: readonly number[],
  values: readonly number[],
): TensorProto {
  return rawTensor(name, DataType.INT64, dims, bytesOf(BigInt64Array.from(values, BigInt)));
}

/** An INT8 tensor. Values outside -128 to 127 wrap around, as typed arrays do. */
export function int8Tensor(
  name: string,
  dims: readonly number[],
  values: ArrayLike<number>,
): TensorProto {
  const bytes = values instanceof Int8Array ? values : Int8Array.from(values);
  return rawTensor(name, DataType.INT8, dims, bytesOf(bytes));
}

/** A UINT8 tensor. Values outside 0 to 255 wrap around, as typed arrays do. */
export function uint8Tensor(
  name: string,
  dims: readonly number[],
  values: ArrayLike<number>,
): TensorProto {
  const bytes = values instanceof Uint8Array ? values : Uint8Array.from(values);
  return rawTensor(name, DataType.UINT8, dims, bytesOf(bytes));
}
