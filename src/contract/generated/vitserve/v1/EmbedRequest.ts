// Original file: proto/vitserve/v1/classification.proto


export interface EmbedRequest {
  'image'?: (Buffer | Uint8Array | string);
  'model'?: (string);
  'normalize'?: (boolean);
  'dimensions'?: (number);
}

export interface EmbedRequest__Output {
  'image': (Buffer);
  'model': (string);
  'normalize': (boolean);
  'dimensions': (number);
}
