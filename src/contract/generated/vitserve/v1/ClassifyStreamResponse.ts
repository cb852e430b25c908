// Original file: proto/vitserve/v1/classification.proto

import type { ClassifyResponse as _vitserve_v1_ClassifyResponse, ClassifyResponse__Output as _vitserve_v1_ClassifyResponse__Output } from '../../vitserve/v1/ClassifyResponse.js';
import type { Status as _google_rpc_Status, Status__Output as _google_rpc_Status__Output } from '../../google/rpc/Status.js';

export interface ClassifyStreamResponse {
  'requestId'?: (string);
  'response'?: (_vitserve_v1_ClassifyResponse | null);
  'status'?: (_google_rpc_Status | null);
  'result'?: "response"|"status";
}

export interface ClassifyStreamResponse__Output {
  'requestId': (string);
  'response'?: (_vitserve_v1_ClassifyResponse__Output | null);
  'status'?: (_google_rpc_Status__Output | null);
  'result'?: "response"|"status";
}
