// Original file: proto/vitserve/v1/classification.proto


export interface ClassifyRequest {
  'image'?: (Buffer | Uint8Array | string);
  'model'?: (string);
  'topK'?: (number);
}

export interface ClassifyRequest__Output {
  'image': (Buffer);
  'model': (string);
  'topK': (number);
}
