/**
 * Models to bytes and back, lossless: fields of the table in fields.ts by name, everything else
 * unchanged in `unknown`.
 *
 * Reading copies nothing but short texts and lists: `rawData` and the other byte fields are views
 * of the given bytes, which must not change while the model lives. Writing costs one pass for the
 * lengths, which protobuf puts before the bytes, and one for the bytes. Unknown fields are written
 * after the named ones of their message; protobuf gives order between different fields no meaning.
 * Why not protobufjs: docs/internals/decisions/0010.
 */
import { type Field, type MessageTable, MODEL } from './fields.js';
import type { ModelProto } from './model-proto.js';
import {
  integerSize,
  OnnxFormatError,
  varintSize,
  WireReader,
  WireType,
  WireWriter,
} from './wire.js';

/** Protobuf's limit on a message: 2 GiB less one byte. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** As in protobuf's own parsers: enough for any nested graph, and far from the end of the stack. */
const MAX_DEPTH = 100;

type Fields = Record<string, unknown>;

/**
 * Decodes a model. Throws OnnxFormatError if the bytes are truncated, malformed, or hold no graph.
 */
export function decodeModel(bytes: Uint8Array): ModelProto {
  const reader = new WireReader(bytes);
  const model = emptyMessage(MODEL);
  readFields(reader, MODEL, model, bytes.length, 0);
  if (model.graph === undefined) throw new OnnxFormatError('it has no graph');
  // The table is typed by the same interfaces (fields.ts); only this place takes that on trust.
  return model as unknown as ModelProto;
}

function emptyMessage(table: MessageTable): Fields {
  const message: Fields = {};
  for (const field of table.fields) {
    if (field.repeated) message[field.key] = [];
    else if (field.absent !== undefined) message[field.key] = field.absent;
  }
  return message;
}

function readFields(
  reader: WireReader,
  table: MessageTable,
  message: Fields,
  end: number,
  depth: number,
): void {
  if (depth > MAX_DEPTH)
    throw new OnnxFormatError(`messages are nested more than ${MAX_DEPTH} deep`);
  while (reader.position < end) {
    const start = reader.position;
    const tag = reader.tag(end);
    const wireType = tag & 7;
    const field = table.byNumber.get(tag >>> 3);
    if (field === undefined) {
      reader.skip(wireType, end);
      const unknown = (message.unknown ?? []) as Uint8Array[];
      unknown.push(reader.view(start, reader.position));
      message.unknown = unknown;
    } else if (field.table !== undefined) {
      expectWireType(table, field, wireType, WireType.BYTES, start);
      readMessage(reader, field, field.table(), message, end, depth);
    } else readScalars(reader, table, field, message, wireType, start, end);
  }
}

function readMessage(
  reader: WireReader,
  field: Field,
  table: MessageTable,
  message: Fields,
  end: number,
  depth: number,
): void {
  const stop = reader.lengthDelimited(end);
  // A single message that occurs twice is one message, merged (protobuf's rule).
  const inner = field.repeated
    ? emptyMessage(table)
    : ((message[field.key] as Fields) ?? emptyMessage(table));
  readFields(reader, table, inner, stop, depth + 1);
  if (field.repeated) (message[field.key] as Fields[]).push(inner);
  else message[field.key] = inner;
}

function readScalars(
  reader: WireReader,
  table: MessageTable,
  field: Field,
  message: Fields,
  wireType: number,
  start: number,
  end: number,
): void {
  const expected = wireTypeOf(field);
  if (field.repeated && wireType === WireType.BYTES && expected !== WireType.BYTES) {
    const stop = reader.lengthDelimited(end);
    const values = message[field.key] as unknown[];
    while (reader.position < stop) values.push(readScalar(reader, table, field, stop));
    return;
  }
  expectWireType(table, field, wireType, expected, start);
  const value = readScalar(reader, table, field, end);
  if (field.repeated) (message[field.key] as unknown[]).push(value);
  else message[field.key] = value;
}

function expectWireType(
  table: MessageTable,
  field: Field,
  wireType: number,
  expected: number,
  start: number,
): void {
  if (wireType === expected) return;
  const where = `${table.name}.${field.key} at byte ${start}`;
  throw new OnnxFormatError(
    `malformed: ${where} has wire type ${wireType} in place of ${expected}`,
  );
}

function readScalar(reader: WireReader, table: MessageTable, field: Field, end: number): unknown {
  switch (field.kind) {
    case 'text':
      return reader.text(end);
    case 'bytes':
      return reader.bytes(end);
    case 'int32':
      return reader.int32(end);
    case 'long':
      return reader.long(end);
    case 'ulong':
      return reader.ulong(end);
    case 'float':
      return reader.float(end);
    case 'double':
      return reader.double(end);
    default: {
      const value = reader.long(end);
      if (typeof value === 'number') return value;
      throw new OnnxFormatError(
        `malformed: ${table.name}.${field.key} is ${value}, which is not a valid number`,
      );
    }
  }
}

function wireTypeOf(field: Field): number {
  if (field.kind === 'text' || field.kind === 'bytes' || field.kind === 'message')
    return WireType.BYTES;
  if (field.kind === 'float') return WireType.FIXED32;
  return field.kind === 'double' ? WireType.FIXED64 : WireType.VARINT;
}

/** A model's bytes in one array. Throws OnnxFormatError above 2 GiB. */
export function encodeModel(model: ModelProto): Uint8Array {
  return Buffer.concat(encodeModelChunks(model));
}

/**
 * The same bytes in pieces: large tensors as views of their own memory, so this costs only the
 * memory of the small parts. The model must not change before the pieces are written.
 */
export function encodeModelChunks(model: ModelProto): readonly Uint8Array[] {
  const fields = model as unknown as Fields;
  const sizes: number[] = [];
  const size = measure(MODEL, fields, sizes);
  if (size > MAX_MODEL_BYTES) {
    throw new OnnxFormatError(
      `the model has ${size} bytes, more than the ${MAX_MODEL_BYTES} of protobuf`,
    );
  }
  const writer = new WireWriter();
  writeFields(writer, MODEL, fields, sizes[Symbol.iterator]());
  return writer.finish();
}

/** The number of bytes `encodeModel` would give; may exceed 2 GiB. */
export function encodedSizeOf(model: ModelProto): number {
  return measure(MODEL, model as unknown as Fields, []);
}

/** The values of a field that are to be written. */
function presentValues(field: Field, message: Fields): readonly unknown[] {
  const value = message[field.key];
  if (field.repeated) return value as readonly unknown[];
  return value === undefined || value === field.absent ? [] : [value];
}

/**
 * The size of a message. The lengths of its length-delimited parts go to `sizes`, in the order of
 * writing.
 */
function measure(table: MessageTable, message: Fields, sizes: number[]): number {
  let total = 0;
  for (const field of table.fields) {
    const values = presentValues(field, message);
    if (values.length === 0) continue;
    const tagSize = varintSize(field.number * 8);
    if (field.packed) {
      const slot = sizes.push(0) - 1;
      let packed = 0;
      for (const value of values) packed += scalarSize(field, value);
      sizes[slot] = packed;
      total += tagSize + varintSize(packed) + packed;
      continue;
    }
    for (const value of values) {
      if (wireTypeOf(field) !== WireType.BYTES) {
        total += tagSize + scalarSize(field, value);
        continue;
      }
      const slot = sizes.push(0) - 1;
      const size =
        field.table === undefined
          ? byteLengthOf(value)
          : measure(field.table(), value as Fields, sizes);
      sizes[slot] = size;
      total += tagSize + varintSize(size) + size;
    }
  }
  for (const bytes of (message.unknown as Uint8Array[] | undefined) ?? []) total += bytes.length;
  return total;
}

function byteLengthOf(value: unknown): number {
  return typeof value === 'string' ? Buffer.byteLength(value) : (value as Uint8Array).length;
}

function scalarSize(field: Field, value: unknown): number {
  if (field.kind === 'float') return 4;
  return field.kind === 'double' ? 8 : integerSize(value as number | bigint);
}

function writeFields(
  writer: WireWriter,
  table: MessageTable,
  message: Fields,
  sizes: Iterator<number>,
): void {
  for (const field of table.fields) {
    const values = presentValues(field, message);
    if (values.length === 0) continue;
    if (field.packed) {
      writer.unsigned(field.number * 8 + WireType.BYTES);
      writer.unsigned(nextSize(sizes));
      for (const value of values) writeNumber(writer, field, value);
      continue;
    }
    const wireType = wireTypeOf(field);
    for (const value of values) {
      writer.unsigned(field.number * 8 + wireType);
      if (wireType !== WireType.BYTES) writeNumber(writer, field, value);
      else if (typeof value === 'string') writer.text(value, nextSize(sizes));
      else {
        writer.unsigned(nextSize(sizes));
        if (field.table === undefined) writer.raw(value as Uint8Array);
        else writeFields(writer, field.table(), value as Fields, sizes);
      }
    }
  }
  for (const bytes of (message.unknown as Uint8Array[] | undefined) ?? []) writer.raw(bytes);
}

function nextSize(sizes: Iterator<number>): number {
  const next = sizes.next();
  if (next.done) throw new Error('the model changed while it was written');
  return next.value;
}

function writeNumber(writer: WireWriter, field: Field, value: unknown): void {
  if (field.kind === 'float') writer.float(value as number);
  else if (field.kind === 'double') writer.double(value as number);
  else writer.integer(value as number | bigint);
}
