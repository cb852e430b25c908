// Original file: proto/vitserve/v1/classification.proto

import type { EmbedResponse as _vitserve_v1_EmbedResponse, EmbedResponse__Output as _vitserve_v1_EmbedResponse__Output } from '../../vitserve/v1/EmbedResponse.js';
import type { Status as _google_rpc_Status, Status__Output as _google_rpc_Status__Output } from '../../google/rpc/Status.js';

export interface EmbedStreamResponse {
  'requestId'?: (string);
  'response'?: (_vitserve_v1_EmbedResponse | null);
  'status'?: (_google_rpc_Status | null);
  'result'?: "response"|"status";
}

export interface EmbedStreamResponse__Output {
  'requestId': (string);
  'response'?: (_vitserve_v1_EmbedResponse__Output | null);
  'status'?: (_google_rpc_Status__Output | null);
  'result'?: "response"|"status";
}
