// Original file: proto/vitserve/v1/classification.proto

import type { ModelVersion as _vitserve_v1_ModelVersion, ModelVersion__Output as _vitserve_v1_ModelVersion__Output } from '../../vitserve/v1/ModelVersion.js';
import type { Timing as _vitserve_v1_Timing, Timing__Output as _vitserve_v1_Timing__Output } from '../../vitserve/v1/Timing.js';

export interface EmbedResponse {
  'embedding'?: (number | string)[];
  'model'?: (_vitserve_v1_ModelVersion | null);
  'timing'?: (_vitserve_v1_Timing | null);
}

export interface EmbedResponse__Output {
  'embedding': (number)[];
  'model': (_vitserve_v1_ModelVersion__Output | null);
  'timing': (_vitserve_v1_Timing__Output | null);
}
