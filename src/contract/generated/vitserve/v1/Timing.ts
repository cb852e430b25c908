// Original file: proto/vitserve/v1/classification.proto

import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';

export interface Timing {
  'decode'?: (_google_protobuf_Duration | null);
  'queue'?: (_google_protobuf_Duration | null);
  'inference'?: (_google_protobuf_Duration | null);
  'batchSize'?: (number);
}

export interface Timing__Output {
  'decode': (_google_protobuf_Duration__Output | null);
  'queue': (_google_protobuf_Duration__Output | null);
  'inference': (_google_protobuf_Duration__Output | null);
  'batchSize': (number);
}
