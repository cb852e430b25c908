// Original file: proto/vitserve/v1/classification.proto

import type { ClassifyRequest as _vitserve_v1_ClassifyRequest, ClassifyRequest__Output as _vitserve_v1_ClassifyRequest__Output } from '../../vitserve/v1/ClassifyRequest.js';

export interface ClassifyStreamRequest {
  'requestId'?: (string);
  'request'?: (_vitserve_v1_ClassifyRequest | null);
}

export interface ClassifyStreamRequest__Output {
  'requestId': (string);
  'request': (_vitserve_v1_ClassifyRequest__Output | null);
}
