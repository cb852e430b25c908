// Original file: proto/vitserve/v1/classification.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { ClassifyRequest as _vitserve_v1_ClassifyRequest, ClassifyRequest__Output as _vitserve_v1_ClassifyRequest__Output } from '../../vitserve/v1/ClassifyRequest.js';
import type { ClassifyResponse as _vitserve_v1_ClassifyResponse, ClassifyResponse__Output as _vitserve_v1_ClassifyResponse__Output } from '../../vitserve/v1/ClassifyResponse.js';
import type { ClassifyStreamRequest as _vitserve_v1_ClassifyStreamRequest, ClassifyStreamRequest__Output as _vitserve_v1_ClassifyStreamRequest__Output } from '../../vitserve/v1/ClassifyStreamRequest.js';
import type { ClassifyStreamResponse as _vitserve_v1_ClassifyStreamResponse, ClassifyStreamResponse__Output as _vitserve_v1_ClassifyStreamResponse__Output } from '../../vitserve/v1/ClassifyStreamResponse.js';
import type { EmbedRequest as _vitserve_v1_EmbedRequest, EmbedRequest__Output as _vitserve_v1_EmbedRequest__Output } from '../../vitserve/v1/EmbedRequest.js';
import type { EmbedResponse as _vitserve_v1_EmbedResponse, EmbedResponse__Output as _vitserve_v1_EmbedResponse__Output } from '../../vitserve/v1/EmbedResponse.js';
import type { EmbedStreamRequest as _vitserve_v1_EmbedStreamRequest, EmbedStreamRequest__Output as _vitserve_v1_EmbedStreamRequest__Output } from '../../vitserve/v1/EmbedStreamRequest.js';
import type { EmbedStreamResponse as _vitserve_v1_EmbedStreamResponse, EmbedStreamResponse__Output as _vitserve_v1_EmbedStreamResponse__Output } from '../../vitserve/v1/EmbedStreamResponse.js';
import type { GetModelRequest as _vitserve_v1_GetModelRequest, GetModelRequest__Output as _vitserve_v1_GetModelRequest__Output } from '../../vitserve/v1/GetModelRequest.js';
import type { ListModelsRequest as _vitserve_v1_ListModelsRequest, ListModelsRequest__Output as _vitserve_v1_ListModelsRequest__Output } from '../../vitserve/v1/ListModelsRequest.js';
import type { ListModelsResponse as _vitserve_v1_ListModelsResponse, ListModelsResponse__Output as _vitserve_v1_ListModelsResponse__Output } from '../../vitserve/v1/ListModelsResponse.js';
import type { Model as _vitserve_v1_Model, Model__Output as _vitserve_v1_Model__Output } from '../../vitserve/v1/Model.js';

export interface ClassificationServiceClient extends grpc.Client {
  Classify(argument: _vitserve_v1_ClassifyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  Classify(argument: _vitserve_v1_ClassifyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  Classify(argument: _vitserve_v1_ClassifyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  Classify(argument: _vitserve_v1_ClassifyRequest, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  classify(argument: _vitserve_v1_ClassifyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  classify(argument: _vitserve_v1_ClassifyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  classify(argument: _vitserve_v1_ClassifyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  classify(argument: _vitserve_v1_ClassifyRequest, callback: grpc.requestCallback<_vitserve_v1_ClassifyResponse__Output>): grpc.ClientUnaryCall;
  
  ClassifyStream(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_ClassifyStreamRequest, _vitserve_v1_ClassifyStreamResponse__Output>;
  ClassifyStream(options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_ClassifyStreamRequest, _vitserve_v1_ClassifyStreamResponse__Output>;
  classifyStream(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_ClassifyStreamRequest, _vitserve_v1_ClassifyStreamResponse__Output>;
  classifyStream(options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_ClassifyStreamRequest, _vitserve_v1_ClassifyStreamResponse__Output>;
  
  Embed(argument: _vitserve_v1_EmbedRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  Embed(argument: _vitserve_v1_EmbedRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  Embed(argument: _vitserve_v1_EmbedRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  Embed(argument: _vitserve_v1_EmbedRequest, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  embed(argument: _vitserve_v1_EmbedRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  embed(argument: _vitserve_v1_EmbedRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  embed(argument: _vitserve_v1_EmbedRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  embed(argument: _vitserve_v1_EmbedRequest, callback: grpc.requestCallback<_vitserve_v1_EmbedResponse__Output>): grpc.ClientUnaryCall;
  
  EmbedStream(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_EmbedStreamRequest, _vitserve_v1_EmbedStreamResponse__Output>;
  EmbedStream(options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_EmbedStreamRequest, _vitserve_v1_EmbedStreamResponse__Output>;
  embedStream(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_EmbedStreamRequest, _vitserve_v1_EmbedStreamResponse__Output>;
  embedStream(options?: grpc.CallOptions): grpc.ClientDuplexStream<_vitserve_v1_EmbedStreamRequest, _vitserve_v1_EmbedStreamResponse__Output>;
  
  GetModel(argument: _vitserve_v1_GetModelRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  GetModel(argument: _vitserve_v1_GetModelRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  GetModel(argument: _vitserve_v1_GetModelRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  GetModel(argument: _vitserve_v1_GetModelRequest, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  getModel(argument: _vitserve_v1_GetModelRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  getModel(argument: _vitserve_v1_GetModelRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  getModel(argument: _vitserve_v1_GetModelRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  getModel(argument: _vitserve_v1_GetModelRequest, callback: grpc.requestCallback<_vitserve_v1_Model__Output>): grpc.ClientUnaryCall;
  
  ListModels(argument: _vitserve_v1_ListModelsRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _vitserve_v1_ListModelsRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _vitserve_v1_ListModelsRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _vitserve_v1_ListModelsRequest, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _vitserve_v1_ListModelsRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _vitserve_v1_ListModelsRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _vitserve_v1_ListModelsRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _vitserve_v1_ListModelsRequest, callback: grpc.requestCallback<_vitserve_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  
}

export interface ClassificationServiceHandlers extends grpc.UntypedServiceImplementation {
  Classify: grpc.handleUnaryCall<_vitserve_v1_ClassifyRequest__Output, _vitserve_v1_ClassifyResponse>;
  
  ClassifyStream: grpc.handleBidiStreamingCall<_vitserve_v1_ClassifyStreamRequest__Output, _vitserve_v1_ClassifyStreamResponse>;
  
  Embed: grpc.handleUnaryCall<_vitserve_v1_EmbedRequest__Output, _vitserve_v1_EmbedResponse>;
  
  EmbedStream: grpc.handleBidiStreamingCall<_vitserve_v1_EmbedStreamRequest__Output, _vitserve_v1_EmbedStreamResponse>;
  
  GetModel: grpc.handleUnaryCall<_vitserve_v1_GetModelRequest__Output, _vitserve_v1_Model>;
  
  ListModels: grpc.handleUnaryCall<_vitserve_v1_ListModelsRequest__Output, _vitserve_v1_ListModelsResponse>;
  
}

export interface ClassificationServiceDefinition extends grpc.ServiceDefinition {
  Classify: MethodDefinition<_vitserve_v1_ClassifyRequest, _vitserve_v1_ClassifyResponse, _vitserve_v1_ClassifyRequest__Output, _vitserve_v1_ClassifyResponse__Output>
  ClassifyStream: MethodDefinition<_vitserve_v1_ClassifyStreamRequest, _vitserve_v1_ClassifyStreamResponse, _vitserve_v1_ClassifyStreamRequest__Output, _vitserve_v1_ClassifyStreamResponse__Output>
  Embed: MethodDefinition<_vitserve_v1_EmbedRequest, _vitserve_v1_EmbedResponse, _vitserve_v1_EmbedRequest__Output, _vitserve_v1_EmbedResponse__Output>
  EmbedStream: MethodDefinition<_vitserve_v1_EmbedStreamRequest, _vitserve_v1_EmbedStreamResponse, _vitserve_v1_EmbedStreamRequest__Output, _vitserve_v1_EmbedStreamResponse__Output>
  GetModel: MethodDefinition<_vitserve_v1_GetModelRequest, _vitserve_v1_Model, _vitserve_v1_GetModelRequest__Output, _vitserve_v1_Model__Output>
  ListModels: MethodDefinition<_vitserve_v1_ListModelsRequest, _vitserve_v1_ListModelsResponse, _vitserve_v1_ListModelsRequest__Output, _vitserve_v1_ListModelsResponse__Output>
}
