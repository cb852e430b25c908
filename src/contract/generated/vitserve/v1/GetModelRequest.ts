// Original file: proto/vitserve/v1/classification.proto


export interface GetModelRequest {
  'model'?: (string);
}

export interface GetModelRequest__Output {
  'model': (string);
}
