// Original file: proto/vitserve/v1/classification.proto


export interface ModelVersion {
  'name'?: (string);
  'version'?: (string);
  'executionProvider'?: (string);
}

export interface ModelVersion__Output {
  'name': (string);
  'version': (string);
  'executionProvider': (string);
}
