/** The manifest's entry for a graph file that was just written. */
import type { Manifest } from '../models/manifest.js';
import { weightBitsOf } from '../onnx/passes/weight-bits.js';
import type { ModelProto } from '../onnx/proto/model-proto.js';

export function graphEntry(file: string, sha256: string, model: ModelProto): Manifest['graph'] {
  const weightBits = weightBitsOf(model);
  return weightBits === null ? { file, sha256 } : { file, sha256, weightBits };
}
