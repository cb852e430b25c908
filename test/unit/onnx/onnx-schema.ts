/**
 * ONNX's messages once more, written for protobufjs from the specification: an independent reader
 * and writer for tests.
 */
import protobuf from 'protobufjs';

const SCHEMA = `
syntax = "proto2";
message Entry { optional string key = 1; optional string value = 2; }
message OperatorSet { optional string domain = 1; optional int64 version = 2; }
message Tensor {
  repeated int64 dims = 1; optional int32 data_type = 2;
  repeated float float_data = 4 [packed = PACKED]; repeated int32 int32_data = 5 [packed = PACKED];
  repeated bytes string_data = 6; repeated int64 int64_data = 7 [packed = PACKED];
  optional string name = 8; optional bytes raw_data = 9;
  repeated double double_data = 10 [packed = PACKED]; repeated uint64 uint64_data = 11 [packed = PACKED];
  optional string doc_string = 12; repeated Entry external_data = 13; optional int32 data_location = 14;
}
message Attribute {
  optional string name = 1; optional float f = 2; optional int64 i = 3; optional bytes s = 4; optional Tensor t = 5;
  optional Graph g = 6; repeated float floats = 7 [packed = PACKED]; repeated int64 ints = 8 [packed = PACKED];
  repeated bytes strings = 9; optional string doc_string = 13; optional int32 type = 20;
}
message Node {
  repeated string input = 1; repeated string output = 2; optional string name = 3; optional string op_type = 4;
  repeated Attribute attribute = 5; optional string doc_string = 6; optional string domain = 7;
}
message Dimension { optional int64 dim_value = 1; optional string dim_param = 2; optional string denotation = 3; }
message Shape { repeated Dimension dim = 1; }
message TensorType { optional int32 elem_type = 1; optional Shape shape = 2; }
message Type { optional TensorType tensor_type = 1; optional string denotation = 6; }
message ValueInfo { optional string name = 1; optional Type type = 2; optional string doc_string = 3; }
message Graph {
  repeated Node node = 1; optional string name = 2; repeated Tensor initializer = 5; optional string doc_string = 10;
  repeated ValueInfo input = 11; repeated ValueInfo output = 12; repeated ValueInfo value_info = 13;
}
message Model {
  optional int64 ir_version = 1; optional string producer_name = 2; optional string producer_version = 3;
  optional string domain = 4; optional int64 model_version = 5; optional string doc_string = 6; optional Graph graph = 7;
  repeated OperatorSet opset_import = 8; repeated Entry metadata_props = 14;
}`;

/** The type of a model whose repeated numbers are written packed or one by one. */
export function modelType(packed: boolean): protobuf.Type {
  return protobuf
    .parse(SCHEMA.replaceAll('PACKED', String(packed)), { keepCase: false })
    .root.lookupType('Model');
}

/**
 * What protobufjs reads, as plain data: int64 as text, bytes as base64, absent values filled in.
 */
export function plainModel(bytes: Uint8Array): unknown {
  const type = modelType(true);
  return type.toObject(type.decode(bytes), {
    longs: String,
    bytes: String,
    defaults: true,
    arrays: true,
  });
}
