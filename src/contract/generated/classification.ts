import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { Any as _google_protobuf_Any, Any__Output as _google_protobuf_Any__Output } from './google/protobuf/Any.js';
import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from './google/protobuf/Duration.js';
import type { Status as _google_rpc_Status, Status__Output as _google_rpc_Status__Output } from './google/rpc/Status.js';
import type { ClassificationServiceClient as _vitserve_v1_ClassificationServiceClient, ClassificationServiceDefinition as _vitserve_v1_ClassificationServiceDefinition } from './vitserve/v1/ClassificationService.js';
import type { ClassifyRequest as _vitserve_v1_ClassifyRequest, ClassifyRequest__Output as _vitserve_v1_ClassifyRequest__Output } from './vitserve/v1/ClassifyRequest.js';
import type { ClassifyResponse as _vitserve_v1_ClassifyResponse, ClassifyResponse__Output as _vitserve_v1_ClassifyResponse__Output } from './vitserve/v1/ClassifyResponse.js';
import type { ClassifyStreamRequest as _vitserve_v1_ClassifyStreamRequest, ClassifyStreamRequest__Output as _vitserve_v1_ClassifyStreamRequest__Output } from './vitserve/v1/ClassifyStreamRequest.js';
import type { ClassifyStreamResponse as _vitserve_v1_ClassifyStreamResponse, ClassifyStreamResponse__Output as _vitserve_v1_ClassifyStreamResponse__Output } from './vitserve/v1/ClassifyStreamResponse.js';
import type { EmbedRequest as _vitserve_v1_EmbedRequest, EmbedRequest__Output as _vitserve_v1_EmbedRequest__Output } from './vitserve/v1/EmbedRequest.js';
import type { EmbedResponse as _vitserve_v1_EmbedResponse, EmbedResponse__Output as _vitserve_v1_EmbedResponse__Output } from './vitserve/v1/EmbedResponse.js';
import type { EmbedStreamRequest as _vitserve_v1_EmbedStreamRequest, EmbedStreamRequest__Output as _vitserve_v1_EmbedStreamRequest__Output } from './vitserve/v1/EmbedStreamRequest.js';
import type { EmbedStreamResponse as _vitserve_v1_EmbedStreamResponse, EmbedStreamResponse__Output as _vitserve_v1_EmbedStreamResponse__Output } from './vitserve/v1/EmbedStreamResponse.js';
import type { GetModelRequest as _vitserve_v1_GetModelRequest, GetModelRequest__Output as _vitserve_v1_GetModelRequest__Output } from './vitserve/v1/GetModelRequest.js';
import type { ListModelsRequest as _vitserve_v1_ListModelsRequest, ListModelsRequest__Output as _vitserve_v1_ListModelsRequest__Output } from './vitserve/v1/ListModelsRequest.js';
import type { ListModelsResponse as _vitserve_v1_ListModelsResponse, ListModelsResponse__Output as _vitserve_v1_ListModelsResponse__Output } from './vitserve/v1/ListModelsResponse.js';
import type { Model as _vitserve_v1_Model, Model__Output as _vitserve_v1_Model__Output } from './vitserve/v1/Model.js';
import type { ModelVersion as _vitserve_v1_ModelVersion, ModelVersion__Output as _vitserve_v1_ModelVersion__Output } from './vitserve/v1/ModelVersion.js';
import type { Prediction as _vitserve_v1_Prediction, Prediction__Output as _vitserve_v1_Prediction__Output } from './vitserve/v1/Prediction.js';
import type { Timing as _vitserve_v1_Timing, Timing__Output as _vitserve_v1_Timing__Output } from './vitserve/v1/Timing.js';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  google: {
    protobuf: {
      Any: MessageTypeDefinition<_google_protobuf_Any, _google_protobuf_Any__Output>
      Duration: MessageTypeDefinition<_google_protobuf_Duration, _google_protobuf_Duration__Output>
    }
    rpc: {
      Status: MessageTypeDefinition<_google_rpc_Status, _google_rpc_Status__Output>
    }
  }
  vitserve: {
    v1: {
      ClassificationService: SubtypeConstructor<typeof grpc.Client, _vitserve_v1_ClassificationServiceClient> & { service: _vitserve_v1_ClassificationServiceDefinition }
      ClassifyRequest: MessageTypeDefinition<_vitserve_v1_ClassifyRequest, _vitserve_v1_ClassifyRequest__Output>
      ClassifyResponse: MessageTypeDefinition<_vitserve_v1_ClassifyResponse, _vitserve_v1_ClassifyResponse__Output>
      ClassifyStreamRequest: MessageTypeDefinition<_vitserve_v1_ClassifyStreamRequest, _vitserve_v1_ClassifyStreamRequest__Output>
      ClassifyStreamResponse: MessageTypeDefinition<_vitserve_v1_ClassifyStreamResponse, _vitserve_v1_ClassifyStreamResponse__Output>
      EmbedRequest: MessageTypeDefinition<_vitserve_v1_EmbedRequest, _vitserve_v1_EmbedRequest__Output>
      EmbedResponse: MessageTypeDefinition<_vitserve_v1_EmbedResponse, _vitserve_v1_EmbedResponse__Output>
      EmbedStreamRequest: MessageTypeDefinition<_vitserve_v1_EmbedStreamRequest, _vitserve_v1_EmbedStreamRequest__Output>
      EmbedStreamResponse: MessageTypeDefinition<_vitserve_v1_EmbedStreamResponse, _vitserve_v1_EmbedStreamResponse__Output>
      GetModelRequest: MessageTypeDefinition<_vitserve_v1_GetModelRequest, _vitserve_v1_GetModelRequest__Output>
      ListModelsRequest: MessageTypeDefinition<_vitserve_v1_ListModelsRequest, _vitserve_v1_ListModelsRequest__Output>
      ListModelsResponse: MessageTypeDefinition<_vitserve_v1_ListModelsResponse, _vitserve_v1_ListModelsResponse__Output>
      Model: MessageTypeDefinition<_vitserve_v1_Model, _vitserve_v1_Model__Output>
      ModelVersion: MessageTypeDefinition<_vitserve_v1_ModelVersion, _vitserve_v1_ModelVersion__Output>
      Prediction: MessageTypeDefinition<_vitserve_v1_Prediction, _vitserve_v1_Prediction__Output>
      Timing: MessageTypeDefinition<_vitserve_v1_Timing, _vitserve_v1_Timing__Output>
    }
  }
}

