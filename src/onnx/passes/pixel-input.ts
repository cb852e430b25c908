/**
 * The input of a prepared graph: uint8 NHWC, a quarter of the bytes of float32 between processes
 * and on the way to a GPU.
 *
 * The value under the old input's name stays, made by nodes in front, so the rest of the graph does
 * not change. The Transpose comes before the Cast, where there are the fewest bytes to move.
 */
import { int, ints, nodeOf, valueInfoOf } from '../graph/build.js';
import { indexGraph } from '../graph/graph.js';
import { DataType, type NodeProto } from '../proto/model-proto.js';
import { float32Tensor } from '../proto/tensors.js';
import { renameValue } from './edit.js';
import { foldNormalization } from './fold-normalization.js';
import type { GraphRewrite } from './pass.js';

export function inputPixels(rewrite: GraphRewrite): void {
  const { graph, pixels: value, inputType: dataType, batch, uniqueName } = rewrite;
  const { input, normalization } = rewrite.options;
  const { layout, height, width } = input;
  const name = rewrite.names.input;
  let folded = false;
  if (normalization !== null) {
    const result = foldNormalization(graph, indexGraph(graph), value, normalization, uniqueName);
    folded = result.folded;
    rewrite.note(
      folded
        ? 'rescaling, mean and std are in the weights of the patch embedding'
        : `rescaling, mean and std are nodes in front of the graph: ${result.reason}`,
    );
  }
  const front: NodeProto[] = [];
  let last = name;
  const append = (opType: string, more: readonly string[], attributes = {}) => {
    const output = uniqueName(`${name}_${opType.toLowerCase()}`);
    front.push(nodeOf(opType, [last, ...more], [output], { attributes }));
    last = output;
  };
  if (layout === 'NCHW') append('Transpose', [], { perm: ints([0, 3, 1, 2]) });
  const normalizesInFront = normalization !== null && !folded;
  if (dataType !== DataType.UINT8) {
    // A folded patch embedding takes float32, whatever it took before.
    const type = normalization !== null ? DataType.FLOAT : dataType;
    append('Cast', [], { to: int(type) });
  }
  if (normalizesInFront) {
    const { rescale, mean, std } = normalization;
    const dims = layout === 'NCHW' ? [1, 3, 1, 1] : [1, 1, 1, 3];
    const scale = float32Tensor(
      uniqueName(`${name}_scale`),
      dims,
      std.map((deviation) => rescale / deviation),
    );
    const shift = float32Tensor(
      uniqueName(`${name}_shift`),
      dims,
      mean.map((average, at) => -average / (std[at] ?? 1)),
    );
    graph.initializer.push(scale, shift);
    append('Mul', [scale.name]);
    append('Add', [shift.name]);
    if (dataType !== DataType.FLOAT) append('Cast', [], { to: int(dataType) });
  }
  const end = front.at(-1);
  // uint8 NHWC needs only another name.
  if (end === undefined) renameValue(graph, value, name);
  else end.output = [value];
  graph.node.unshift(...front);
  const pixels = valueInfoOf(name, DataType.UINT8, [batch, height, width, 3]);
  graph.input = [
    pixels,
    ...graph.input.filter((other) => other.name !== value && other.name !== name),
  ];
  rewrite.foldedNormalization = folded;
}
