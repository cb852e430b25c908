// Original file: proto/vitserve/v1/classification.proto

import type { Prediction as _vitserve_v1_Prediction, Prediction__Output as _vitserve_v1_Prediction__Output } from '../../vitserve/v1/Prediction.js';
import type { ModelVersion as _vitserve_v1_ModelVersion, ModelVersion__Output as _vitserve_v1_ModelVersion__Output } from '../../vitserve/v1/ModelVersion.js';
import type { Timing as _vitserve_v1_Timing, Timing__Output as _vitserve_v1_Timing__Output } from '../../vitserve/v1/Timing.js';

export interface ClassifyResponse {
  'predictions'?: (_vitserve_v1_Prediction)[];
  'model'?: (_vitserve_v1_ModelVersion | null);
  'timing'?: (_vitserve_v1_Timing | null);
}

export interface ClassifyResponse__Output {
  'predictions': (_vitserve_v1_Prediction__Output)[];
  'model': (_vitserve_v1_ModelVersion__Output | null);
  'timing': (_vitserve_v1_Timing__Output | null);
}
