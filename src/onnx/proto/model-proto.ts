/**
 * ONNX as plain data: the messages of `onnx.proto` (IR version 3 and later) that graphs consist of,
 * with the names of the specification in camel case. `codec.ts` reads and writes them.
 *
 * Fields without a name here (training info, quantisation annotations, fields of later versions)
 * survive reading and writing in `unknown`: whole encoded fields, tag included, in their order.
 * Absent scalars are 0, '' or undefined as noted; absent lists are empty.
 */

/** Encoded fields that have no name here. */
export interface Message {
  unknown?: Uint8Array[];
}

export interface ModelProto extends Message {
  irVersion: number;
  producerName: string;
  producerVersion: string;
  domain: string;
  modelVersion: number;
  docString: string;
  graph: GraphProto;
  opsetImport: OperatorSetId[];
  metadataProps: StringEntry[];
}

/** `domain` is '' for the standard operators. */
export interface OperatorSetId extends Message {
  domain: string;
  version: number;
}

export interface StringEntry extends Message {
  key: string;
  value: string;
}

export interface GraphProto extends Message {
  node: NodeProto[];
  name: string;
  initializer: TensorProto[];
  docString: string;
  input: ValueInfoProto[];
  output: ValueInfoProto[];
  valueInfo: ValueInfoProto[];
  metadataProps: StringEntry[];
}

export interface NodeProto extends Message {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  domain: string;
  attribute: AttributeProto[];
  docString: string;
  metadataProps: StringEntry[];
}

/** AttributeProto.AttributeType, as far as graphs of this kind use it. */
export const AttributeType = {
  FLOAT: 1,
  INT: 2,
  STRING: 3,
  TENSOR: 4,
  GRAPH: 5,
  FLOATS: 6,
  INTS: 7,
  STRINGS: 8,
} as const;

/**
 * One value, in the field that `type` names. 64-bit integers are numbers where they are safe,
 * bigint elsewhere.
 */
export interface AttributeProto extends Message {
  name: string;
  docString: string;
  type: number;
  f?: number;
  i?: number | bigint;
  s?: Uint8Array;
  t?: TensorProto;
  g?: GraphProto;
  floats: number[];
  ints: (number | bigint)[];
  strings: Uint8Array[];
}

/** TensorProto.DataType. */
export const DataType = {
  FLOAT: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  STRING: 8,
  BOOL: 9,
  FLOAT16: 10,
  DOUBLE: 11,
  UINT32: 12,
  UINT64: 13,
  BFLOAT16: 16,
} as const;

/**
 * A constant. Its values are in `rawData` (little-endian, row by row), or in the list that its type
 * uses, or, while `externalData` is not empty, in a file beside the model. `codec.ts` leaves them
 * where they are; `files.ts` loads external data into `rawData`.
 */
export interface TensorProto extends Message {
  dims: number[];
  dataType: number;
  name: string;
  docString: string;
  rawData?: Uint8Array;
  floatData: number[];
  int32Data: number[];
  int64Data: (number | bigint)[];
  stringData: Uint8Array[];
  doubleData: number[];
  uint64Data: (number | bigint)[];
  externalData: StringEntry[];
  /** 0: in the message, 1: in a file. */
  dataLocation: number;
}

export interface ValueInfoProto extends Message {
  name: string;
  docString: string;
  /**
   * Absent if the exporter gave no type. Only tensors are spelled out; other kinds survive in
   * `unknown`.
   */
  type?: TypeProto;
}

export interface TypeProto extends Message {
  tensorType?: TensorType;
  denotation: string;
}

export interface TensorType extends Message {
  elemType: number;
  /** Absent: unknown rank. */
  shape?: { dim: Dimension[] } & Message;
}

/** A size, a symbolic name, or neither (unknown). */
export interface Dimension extends Message {
  dimValue?: number;
  dimParam?: string;
  denotation: string;
}
