// Original file: proto/vitserve/v1/classification.proto

import type { EmbedRequest as _vitserve_v1_EmbedRequest, EmbedRequest__Output as _vitserve_v1_EmbedRequest__Output } from '../../vitserve/v1/EmbedRequest.js';

export interface EmbedStreamRequest {
  'requestId'?: (string);
  'request'?: (_vitserve_v1_EmbedRequest | null);
}

export interface EmbedStreamRequest__Output {
  'requestId': (string);
  'request': (_vitserve_v1_EmbedRequest__Output | null);
}
