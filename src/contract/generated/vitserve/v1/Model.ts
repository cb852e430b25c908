// Original file: proto/vitserve/v1/classification.proto

import type { ModelVersion as _vitserve_v1_ModelVersion, ModelVersion__Output as _vitserve_v1_ModelVersion__Output } from '../../vitserve/v1/ModelVersion.js';

export interface Model {
  'model'?: (_vitserve_v1_ModelVersion | null);
  'classCount'?: (number);
  'labels'?: (string)[];
  'inputHeight'?: (number);
  'inputWidth'?: (number);
  'embeddingSize'?: (number);
  'maxBatchSize'?: (number);
}

export interface Model__Output {
  'model': (_vitserve_v1_ModelVersion__Output | null);
  'classCount': (number);
  'labels': (string)[];
  'inputHeight': (number);
  'inputWidth': (number);
  'embeddingSize': (number);
  'maxBatchSize': (number);
}
