// Original file: proto/vitserve/v1/classification.proto

import type { Model as _vitserve_v1_Model, Model__Output as _vitserve_v1_Model__Output } from '../../vitserve/v1/Model.js';

export interface ListModelsResponse {
  'models'?: (_vitserve_v1_Model)[];
  'nextPageToken'?: (string);
}

export interface ListModelsResponse__Output {
  'models': (_vitserve_v1_Model__Output)[];
  'nextPageToken': (string);
}
