/** The two layers that a ViT consists of, in plain ONNX. */
import { float, int } from '../graph/build.js';
import type { FloatType, GraphBuilder } from '../graph/graph-builder.js';
import type { Dense, Norm } from './architecture.js';
import { transpose } from './fold.js';

/** LayerNorm over the last axis. */
export function layerNorm(
  graph: GraphBuilder,
  name: string,
  value: string,
  { scale, shift }: Norm,
  epsilon: number,
  type: FloatType = 'float32',
): string {
  const scales = graph.floats(`${name}.weight`, [scale.length], scale, type);
  const shifts = graph.floats(`${name}.bias`, [shift.length], shift, type);
  return graph.node('LayerNormalization', name, [value, scales, shifts], {
    axis: int(-1),
    epsilon: float(epsilon),
  });
}

/** [..., inputs] to [..., outputs], times `scale`. */
export function dense(
  graph: GraphBuilder,
  name: string,
  value: string,
  { weight, bias }: Dense,
  outputs: number,
  type: FloatType = 'float32',
  scale = 1,
): string {
  const inputs = weight.length / outputs;
  const turned = graph.floats(
    `${name}.weight`,
    [inputs, outputs],
    transpose(weight, outputs, inputs, scale),
    type,
  );
  if (bias === null) return graph.node('MatMul', name, [value, turned]);
  const scaled = scale === 1 ? bias : bias.map((one) => one * scale);
  const product = graph.node('MatMul', `${name}.product`, [value, turned]);
  return graph.node('Add', name, [product, graph.floats(`${name}.bias`, [outputs], scaled, type)]);
}
