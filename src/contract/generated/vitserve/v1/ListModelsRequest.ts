// Original file: proto/vitserve/v1/classification.proto


export interface ListModelsRequest {
  'pageSize'?: (number);
  'pageToken'?: (string);
}

export interface ListModelsRequest__Output {
  'pageSize': (number);
  'pageToken': (string);
}
