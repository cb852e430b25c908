/**
 * The contract in proto/vitserve/v1: every element is explained, and nothing that callers have
 * compiled in can drift.
 *
 * A new field is added to CONTRACT in the same change. A line that is already there is never
 * changed: clients in the field speak it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import protobuf from 'protobufjs';
import { filesBelow, read } from './repository.js';

const METHODS = {
  Classify: 'ClassifyRequest → ClassifyResponse',
  ClassifyStream: 'stream ClassifyStreamRequest → stream ClassifyStreamResponse',
  Embed: 'EmbedRequest → EmbedResponse',
  EmbedStream: 'stream EmbedStreamRequest → stream EmbedStreamResponse',
  GetModel: 'GetModelRequest → Model',
  ListModels: 'ListModelsRequest → ListModelsResponse',
};

const CONTRACT = {
  ClassifyRequest: ['bytes image = 1', 'string model = 2', 'int32 top_k = 3'],
  ClassifyResponse: [
    'repeated Prediction predictions = 1',
    'ModelVersion model = 2',
    'Timing timing = 3',
  ],
  Prediction: ['int32 class_index = 1', 'string label = 2', 'float score = 3'],
  ModelVersion: ['string name = 1', 'string version = 2', 'string execution_provider = 3'],
  Timing: [
    'google.protobuf.Duration decode = 1',
    'google.protobuf.Duration queue = 2',
    'google.protobuf.Duration inference = 3',
    'int32 batch_size = 4',
  ],
  ClassifyStreamRequest: ['string request_id = 1', 'ClassifyRequest request = 2'],
  ClassifyStreamResponse: [
    'string request_id = 1',
    'oneof result: ClassifyResponse response = 2',
    'oneof result: google.rpc.Status status = 3',
  ],
  EmbedRequest: [
    'bytes image = 1',
    'string model = 2',
    'bool normalize = 3',
    'int32 dimensions = 4',
  ],
  EmbedResponse: ['repeated float embedding = 1', 'ModelVersion model = 2', 'Timing timing = 3'],
  EmbedStreamRequest: ['string request_id = 1', 'EmbedRequest request = 2'],
  EmbedStreamResponse: [
    'string request_id = 1',
    'oneof result: EmbedResponse response = 2',
    'oneof result: google.rpc.Status status = 3',
  ],
  GetModelRequest: ['string model = 1'],
  ListModelsRequest: ['int32 page_size = 1', 'string page_token = 2'],
  ListModelsResponse: ['repeated Model models = 1', 'string next_page_token = 2'],
  Model: [
    'ModelVersion model = 1',
    'int32 class_count = 2',
    'repeated string labels = 3',
    'int32 input_height = 4',
    'int32 input_width = 5',
    'int32 embedding_size = 6',
    'int32 max_batch_size = 7',
  ],
};

function load(path: string): protobuf.Namespace {
  const { root, package: name } = protobuf.parse(read(path), {
    keepCase: true,
    alternateCommentMode: true,
  });
  assert.equal(name, 'vitserve.v1');
  return root.lookup('vitserve.v1') as protobuf.Namespace;
}

/**
 * Where generated code goes, by file. Not a byte on the wire, but code that callers have written
 * imports it. Those of others are as their owners publish them, or Go programs end at start because
 * two packages register one file.
 */
const CODE_OPTIONS = {
  'vitserve/v1/classification.proto': {
    go_package: 'vitserve/v1;vitservev1',
    java_package: 'vitserve.v1',
    java_multiple_files: true,
    java_outer_classname: 'ClassificationProto',
    csharp_namespace: 'Vitserve.V1',
    objc_class_prefix: 'VTS',
    php_namespace: 'Vitserve\\V1',
    ruby_package: 'Vitserve::V1',
  },
  'google/rpc/status.proto': {
    go_package: 'google.golang.org/genproto/googleapis/rpc/status;status',
    java_package: 'com.google.rpc',
    java_multiple_files: true,
    java_outer_classname: 'StatusProto',
    objc_class_prefix: 'RPC',
  },
  'google/rpc/error_details.proto': {
    go_package: 'google.golang.org/genproto/googleapis/rpc/errdetails;errdetails',
    java_package: 'com.google.rpc',
    java_multiple_files: true,
    java_outer_classname: 'ErrorDetailsProto',
    objc_class_prefix: 'RPC',
  },
  'grpc/health/v1/health.proto': {
    go_package: 'google.golang.org/grpc/health/grpc_health_v1',
    java_package: 'io.grpc.health.v1',
    java_multiple_files: true,
    java_outer_classname: 'HealthProto',
    csharp_namespace: 'Grpc.Health.V1',
    objc_class_prefix: 'GrpcHealthV1',
  },
};

function lineOf(field: protobuf.Field): string {
  const choice = field.partOf === null ? '' : `oneof ${field.partOf.name}: `;
  return `${choice}${field.repeated ? 'repeated ' : ''}${field.type} ${field.name} = ${field.id}`;
}

function streamed(type: string, isStream: boolean | undefined): string {
  return isStream ? `stream ${type}` : type;
}

describe('proto/vitserve/v1', () => {
  const files = filesBelow('proto/vitserve/v1', '.proto');
  const elements = files.flatMap((path) => load(path).nestedArray);

  test('has the services and methods that callers know', () => {
    const services = elements.filter((element) => element instanceof protobuf.Service);
    assert.deepEqual(
      services.map(({ name }) => name),
      ['ClassificationService'],
    );
    const methods = services.flatMap(({ methodsArray }) =>
      methodsArray.map(({ name, requestType, requestStream, responseType, responseStream }) => [
        name,
        `${streamed(requestType, requestStream)} → ${streamed(responseType, responseStream)}`,
      ]),
    );
    assert.deepEqual(Object.fromEntries(methods), METHODS);
  });

  test('has the messages and field numbers that callers know', () => {
    const messages = elements.filter((element) => element instanceof protobuf.Type);
    const lines = messages.map(({ name, fieldsArray }) => [name, fieldsArray.map(lineOf)]);
    assert.deepEqual(Object.fromEntries(lines), CONTRACT);
  });

  test('explains every element', () => {
    const silent: string[] = [];
    const look = (element: protobuf.ReflectionObject): void => {
      if (!/^\S[\s\S]*\.$/.test(element.comment ?? '')) silent.push(element.fullName);
      if (element instanceof protobuf.Type) for (const field of element.fieldsArray) look(field);
      if (element instanceof protobuf.Type) for (const choice of element.oneofsArray) look(choice);
      if (element instanceof protobuf.Service)
        for (const method of element.methodsArray) look(method);
      if (element instanceof protobuf.Namespace)
        for (const nested of element.nestedArray) look(nested);
      if (element instanceof protobuf.Enum) {
        for (const name of Object.keys(element.values)) {
          if (!element.comments[name]) silent.push(`${element.fullName}.${name}`);
        }
      }
    };
    for (const element of elements) look(element);
    assert.deepEqual(silent, []);
  });
});

test('every file in proto/ says where its generated code goes', () => {
  const options = filesBelow('proto', '.proto').map((path) => {
    const { root, package: name = '' } = protobuf.parse(read(path), { keepCase: true });
    return [path.slice('proto/'.length), { ...root.lookup(name)?.options }];
  });
  assert.deepEqual(Object.fromEntries(options), CODE_OPTIONS);
});
