/**
 * The one table of ONNX's wire format: for every message of model-proto.ts, which field number
 * carries which property.
 *
 * Numbers, types and packing are those of `onnx.proto` (github.com/onnx/onnx, IR version 3 to 13).
 * This table alone drives the codec, so a further field is one more line here and one more property
 * in model-proto.ts; fields without a line survive in `unknown`.
 */
import type {
  AttributeProto,
  Dimension,
  GraphProto,
  Message,
  ModelProto,
  NodeProto,
  OperatorSetId,
  StringEntry,
  TensorProto,
  TensorType,
  TypeProto,
  ValueInfoProto,
} from './model-proto.js';

/**
 * `int`: a 64-bit integer that must be a safe number. `long`, `ulong`: number where safe, else
 * bigint.
 */
export type ScalarKind = 'text' | 'bytes' | 'int' | 'int32' | 'long' | 'ulong' | 'float' | 'double';

export interface Field {
  readonly number: number;
  readonly key: string;
  readonly kind: ScalarKind | 'message';
  readonly repeated: boolean;
  /** How a repeated scalar is written; both ways are read. */
  readonly packed: boolean;
  /** The value of an absent field, which is not written; undefined where absence is told apart. */
  readonly absent: '' | 0 | undefined;
  /** For messages. A function, since attributes hold graphs and graphs hold attributes. */
  readonly table: (() => MessageTable) | undefined;
}

export interface MessageTable {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
}

type Row<Of> = Field & { readonly key: keyof Of & string };

function table<Of extends Message>(name: string, fields: readonly Row<Of>[]): MessageTable {
  return { name, fields, byNumber: new Map(fields.map((field) => [field.number, field])) };
}

const ONE = { repeated: false, packed: false, absent: undefined, table: undefined } as const;

/** A scalar that is '' or 0 when absent. */
function scalar<Key extends string>(number: number, key: Key, kind: 'text' | 'int' | 'int32') {
  return { ...ONE, number, key, kind, absent: kind === 'text' ? '' : 0 } as const;
}

/** A scalar that is undefined when absent. */
function optional<Key extends string>(number: number, key: Key, kind: ScalarKind) {
  return { ...ONE, number, key, kind } as const;
}

function list<Key extends string>(number: number, key: Key, kind: ScalarKind, packing?: 'packed') {
  return { ...ONE, number, key, kind, repeated: true, packed: packing === 'packed' } as const;
}

function message<Key extends string>(number: number, key: Key, of: () => MessageTable) {
  return { ...ONE, number, key, kind: 'message', table: of } as const;
}

function messages<Key extends string>(number: number, key: Key, of: () => MessageTable) {
  return { ...ONE, number, key, kind: 'message', repeated: true, table: of } as const;
}

const OPERATOR_SET = table<OperatorSetId>('OperatorSetIdProto', [
  scalar(1, 'domain', 'text'),
  scalar(2, 'version', 'int'),
]);

const ENTRY = table<StringEntry>('StringStringEntryProto', [
  scalar(1, 'key', 'text'),
  scalar(2, 'value', 'text'),
]);

const TENSOR = table<TensorProto>('TensorProto', [
  list(1, 'dims', 'int'),
  scalar(2, 'dataType', 'int32'),
  list(4, 'floatData', 'float', 'packed'),
  list(5, 'int32Data', 'int32', 'packed'),
  list(6, 'stringData', 'bytes'),
  list(7, 'int64Data', 'long', 'packed'),
  scalar(8, 'name', 'text'),
  optional(9, 'rawData', 'bytes'),
  list(10, 'doubleData', 'double', 'packed'),
  list(11, 'uint64Data', 'ulong', 'packed'),
  scalar(12, 'docString', 'text'),
  messages(13, 'externalData', () => ENTRY),
  scalar(14, 'dataLocation', 'int32'),
]);

const DIMENSION = table<Dimension>('TensorShapeProto.Dimension', [
  optional(1, 'dimValue', 'int'),
  optional(2, 'dimParam', 'text'),
  scalar(3, 'denotation', 'text'),
]);

const SHAPE = table<NonNullable<TensorType['shape']>>('TensorShapeProto', [
  messages(1, 'dim', () => DIMENSION),
]);

const TENSOR_TYPE = table<TensorType>('TypeProto.Tensor', [
  scalar(1, 'elemType', 'int32'),
  message(2, 'shape', () => SHAPE),
]);

const TYPE = table<TypeProto>('TypeProto', [
  message(1, 'tensorType', () => TENSOR_TYPE),
  scalar(6, 'denotation', 'text'),
]);

const VALUE_INFO = table<ValueInfoProto>('ValueInfoProto', [
  scalar(1, 'name', 'text'),
  message(2, 'type', () => TYPE),
  scalar(3, 'docString', 'text'),
]);

const ATTRIBUTE = table<AttributeProto>('AttributeProto', [
  scalar(1, 'name', 'text'),
  optional(2, 'f', 'float'),
  optional(3, 'i', 'long'),
  optional(4, 's', 'bytes'),
  message(5, 't', () => TENSOR),
  message(6, 'g', () => GRAPH),
  list(7, 'floats', 'float'),
  list(8, 'ints', 'long'),
  list(9, 'strings', 'bytes'),
  scalar(13, 'docString', 'text'),
  scalar(20, 'type', 'int32'),
]);

const NODE = table<NodeProto>('NodeProto', [
  list(1, 'input', 'text'),
  list(2, 'output', 'text'),
  scalar(3, 'name', 'text'),
  scalar(4, 'opType', 'text'),
  messages(5, 'attribute', () => ATTRIBUTE),
  scalar(6, 'docString', 'text'),
  scalar(7, 'domain', 'text'),
  messages(9, 'metadataProps', () => ENTRY),
]);

const GRAPH: MessageTable = table<GraphProto>('GraphProto', [
  messages(1, 'node', () => NODE),
  scalar(2, 'name', 'text'),
  messages(5, 'initializer', () => TENSOR),
  scalar(10, 'docString', 'text'),
  messages(11, 'input', () => VALUE_INFO),
  messages(12, 'output', () => VALUE_INFO),
  messages(13, 'valueInfo', () => VALUE_INFO),
  messages(16, 'metadataProps', () => ENTRY),
]);

export const MODEL = table<ModelProto>('ModelProto', [
  scalar(1, 'irVersion', 'int'),
  scalar(2, 'producerName', 'text'),
  scalar(3, 'producerVersion', 'text'),
  scalar(4, 'domain', 'text'),
  scalar(5, 'modelVersion', 'int'),
  scalar(6, 'docString', 'text'),
  message(7, 'graph', () => GRAPH),
  messages(8, 'opsetImport', () => OPERATOR_SET),
  messages(14, 'metadataProps', () => ENTRY),
]);
