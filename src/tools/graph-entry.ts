/** The graph file of the versions that tools write, and its entry in their manifests. */
import type { Manifest } from '../models/manifest.js';
import { weightBitsOf } from '../onnx/passes/weight-bits.js';
import type { ModelProto } from '../onnx/proto/model-proto.js';

export const GRAPH_FILE = 'model.onnx';

export function graphEntry(sha256: string, model: ModelProto): Manifest['graph'] {
  const weightBits = weightBitsOf(model);
  return { file: GRAPH_FILE, sha256, ...(weightBits === null ? {} : { weightBits }) };
}
