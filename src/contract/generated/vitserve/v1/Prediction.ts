// Original file: proto/vitserve/v1/classification.proto


export interface Prediction {
  'classIndex'?: (number);
  'label'?: (string);
  'score'?: (number | string);
}

export interface Prediction__Output {
  'classIndex': (number);
  'label': (string);
  'score': (number);
}
