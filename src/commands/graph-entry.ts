/** What a manifest says of the graph file that has just been written. */
import type { Manifest } from '../model/manifest.js';
import type { ModelProto } from '../onnx/model-proto.js';
import { weightBitsOf } from '../onnx/weight-bits.js';

export function graphEntry(file: string, sha256: string, model: ModelProto): Manifest['graph'] {
  const weightBits = weightBitsOf(model);
  return weightBits === null ? { file, sha256 } : { file, sha256, weightBits };
}
