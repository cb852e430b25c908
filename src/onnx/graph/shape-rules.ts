/**
 * One rule for each operator that ViT graphs consist of: from types and shapes of the inputs to
 * those of the outputs (ONNX operator specification, opsets 11 to 23, and onnxruntime's
 * `com.microsoft` operators for transformers).
 *
 * A rule answers `undefined` if it can't tell. Rules trust the graph: onnxruntime checks it. The
 * file is long because it is one table and what the rows share.
 */

import { DataType, type NodeProto } from '../proto/model-proto.js';
import { intAttribute, intsAttribute, tensorAttribute } from './graph.js';
import { type KnownValue, knownConstant } from './known-value.js';

type Dims = readonly number[];
type Inputs = readonly (KnownValue | undefined)[];
type Rule = (node: NodeProto, inputs: Inputs) => readonly (KnownValue | undefined)[];

/** What a node makes, one entry for each output, as far as the rules know. */
export function inferNode(node: NodeProto, inputs: Inputs): readonly (KnownValue | undefined)[] {
  const rule = RULES[node.opType];
  const outputs = rule === undefined ? [] : rule(node, inputs);
  // Without a shape the type may still be known: most operators answer in the type of their first
  // input.
  return node.output.map(
    (_, at) => outputs[at] ?? (rule === undefined ? undefined : untold(node, inputs)),
  );
}

function untold({ opType }: NodeProto, inputs: Inputs): KnownValue | undefined {
  if (TYPE_CHANGING.has(opType)) return undefined;
  const typed = opType === 'Where' ? inputs[1] : inputs[0];
  return typed === undefined ? undefined : { dataType: typed.dataType, dims: null };
}

const TYPE_CHANGING = new Set([
  'Cast',
  'Shape',
  'Equal',
  'IsNaN',
  'ConstantOfShape',
  'MatMulInteger',
  'DynamicQuantizeLinear',
]);

const same: Rule = (_, [x]) => [
  x === undefined ? undefined : { dataType: x.dataType, dims: x.dims },
];

const elementwise =
  (combine?: (a: number, b: number) => number, dataType?: number): Rule =>
  (_, [a, b]) => {
    if (a?.dims == null || b?.dims == null) return [];
    const dims = broadcast(a.dims, b.dims);
    return [known(dataType ?? a.dataType, dims, combine && combineElements(a, b, dims, combine))];
  };

const shaped =
  (dimsOf: (node: NodeProto, dims: Dims, inputs: Inputs) => Dims | undefined): Rule =>
  (node, inputs) => {
    const [x] = inputs;
    if (x?.dims == null) return [];
    const dims = dimsOf(node, x.dims, inputs);
    if (dims === undefined) return [];
    // Reshape, Squeeze and the like keep the elements; in practice shapes are not computed with
    // operators that move them.
    const keeps =
      x.elements !== undefined && sizeOf(dims) === x.elements.length && node.opType !== 'Transpose';
    return [known(x.dataType, dims, keeps ? x.elements : undefined)];
  };

const RULES: Readonly<Record<string, Rule>> = {
  Identity: (_, [x]) => [x],
  Cast: (node, [x]) => [x && known(intAttribute(node, 'to', 0), x.dims, x.elements)],
  Constant: (node) => {
    const tensor = tensorAttribute(node, 'value');
    return [tensor && knownConstant(tensor)];
  },
  Shape: (node, [x]) => {
    if (x?.dims == null) return [];
    const part = x.dims.slice(
      intAttribute(node, 'start', 0),
      intAttribute(node, 'end', x.dims.length),
    );
    return [known(DataType.INT64, [part.length], part)];
  },
  ConstantOfShape: (node, [shape]) => {
    const value = tensorAttribute(node, 'value');
    const first = value === undefined ? undefined : knownConstant(value);
    const dims = shape?.elements;
    if (dims === undefined) return [];
    const filler = first?.elements?.[0];
    const elements =
      filler === undefined || sizeOf(dims) > 64 ? undefined : Array(sizeOf(dims)).fill(filler);
    return [known(first?.dataType ?? DataType.FLOAT, dims, elements)];
  },
  Equal: elementwise((a, b) => Number(a === b), DataType.BOOL),
  IsNaN: (_, [x]) => [x === undefined ? undefined : { dataType: DataType.BOOL, dims: x.dims }],
  Where: (_, [condition, a, b]) => {
    if (condition?.dims == null || a?.dims == null || b?.dims == null) return [];
    const dims = broadcast(condition.dims, broadcast(a.dims, b.dims));
    const chosen =
      condition.elements && a.elements && b.elements && condition.elements.length === sizeOf(dims)
        ? condition.elements.map((yes, at) => elementAt(yes ? a : b, at))
        : undefined;
    return [known(a.dataType, dims, chosen)];
  },
  Add: elementwise((a, b) => a + b),
  Sub: elementwise((a, b) => a - b),
  Mod: elementwise((a, b) => a - b * Math.floor(a / b)),
  Mul: elementwise((a, b) => a * b),
  Div: elementwise((a, b) => Math.trunc(a / b)),
  Pow: elementwise(),
  Min: elementwise(),
  Max: elementwise(),
  BiasGelu: elementwise(),
  ...Object.fromEntries(
    (
      'Erf Gelu FastGelu QuickGelu Tanh Sigmoid Relu Sqrt Exp Neg Abs Clip Softmax ' +
      'LayerNormalization Dropout Round Reciprocal'
    )
      .split(' ')
      .map((name) => [name, same]),
  ),
  SkipLayerNormalization: (_, [x]) => [x, undefined, undefined, x],
  MatMul: product(),
  FusedMatMul: (node, [a, b]) =>
    product()(node, [
      flipped(a, intAttribute(node, 'transA', 0)),
      flipped(b, intAttribute(node, 'transB', 0)),
    ]),
  MatMulInteger: product(DataType.INT32),
  MatMulIntegerToFloat: product(DataType.FLOAT),
  DynamicQuantizeMatMul: product(DataType.FLOAT),
  MatMulNBits: (node, [x]) => [
    x?.dims == null ? undefined : known(x.dataType, x.dims.with(-1, intAttribute(node, 'N', 0))),
  ],
  DynamicQuantizeLinear: (_, [x]) => [
    x && known(DataType.UINT8, x.dims),
    known(DataType.FLOAT, []),
    known(DataType.UINT8, []),
  ],
  Gemm: (node, [a, b]) => {
    const [left, right] = [
      flipped(a, intAttribute(node, 'transA', 0)),
      flipped(b, intAttribute(node, 'transB', 0)),
    ];
    return product()(node, [left, right]);
  },
  Conv: (node, [x, weight]) => {
    if (x?.dims == null || weight?.dims == null) return [];
    const [batch, , ...sizes] = x.dims;
    const [filters, , ...kernel] = weight.dims;
    if (batch === undefined || filters === undefined) return [];
    const strides = intsAttribute(node, 'strides') ?? kernel.map(() => 1);
    const pads = intsAttribute(node, 'pads') ?? kernel.flatMap(() => [0, 0]);
    const dilations = intsAttribute(node, 'dilations') ?? kernel.map(() => 1);
    const out = sizes.map((size, axis) => {
      const reach = ((kernel[axis] as number) - 1) * (dilations[axis] as number) + 1;
      const padded = size + (pads[axis] as number) + (pads[axis + kernel.length] as number);
      return Math.floor((padded - reach) / (strides[axis] as number)) + 1;
    });
    return [known(x.dataType, [batch, filters, ...out])];
  },
  MultiHeadAttention: (_, [query, , value]) => {
    if (query?.dims?.length !== 3) return [];
    const width = value?.dims?.length === 3 ? (value.dims[2] as number) : (query.dims[2] as number);
    return [known(query.dataType, [query.dims[0] as number, query.dims[1] as number, width])];
  },
  Attention: (node, [x, weights]) => {
    if (x?.dims == null) return [];
    // The standard operator takes query, key and value; onnxruntime's takes x and the weights of
    // all three side by side.
    if (node.domain !== 'com.microsoft') return [known(x.dataType, x.dims)];
    return weights?.dims == null
      ? []
      : [known(x.dataType, [...x.dims.slice(0, -1), (weights.dims[1] as number) / 3])];
  },
  Transpose: shaped((node, dims) => {
    const order = intsAttribute(node, 'perm') ?? dims.map((_, axis) => dims.length - 1 - axis);
    return order.map((axis) => dims[axis] as number);
  }),
  Flatten: shaped((node, dims) => {
    const axis = fromEnd(intAttribute(node, 'axis', 1), dims.length);
    return [sizeOf(dims.slice(0, axis)), sizeOf(dims.slice(axis))];
  }),
  Reshape: shaped((node, dims, [, shape]) => {
    if (shape?.elements === undefined) return undefined;
    const keepsZero = intAttribute(node, 'allowzero', 0) === 0;
    const wanted = shape.elements.map((size, axis) =>
      size === 0 && keepsZero ? (dims[axis] as number) : size,
    );
    const rest = wanted.filter((size) => size !== -1);
    return wanted.map((size) => (size === -1 ? sizeOf(dims) / sizeOf(rest) : size));
  }),
  Squeeze: shaped((node, dims, [, input]) => {
    const axes = (intsAttribute(node, 'axes') ?? input?.elements)?.map((axis) =>
      fromEnd(axis, dims.length),
    );
    return dims.filter((size, axis) => (axes === undefined ? size !== 1 : !axes.includes(axis)));
  }),
  Unsqueeze: shaped((node, dims, [, input]) => {
    const given = intsAttribute(node, 'axes') ?? input?.elements;
    if (given === undefined) return undefined;
    const axes = given.map((axis) => fromEnd(axis, dims.length + given.length));
    const rest = dims[Symbol.iterator]();
    return Array.from({ length: dims.length + given.length }, (_, axis) =>
      axes.includes(axis) ? 1 : (rest.next().value as number),
    );
  }),
  Expand: shaped((_, dims, [, shape]) =>
    shape?.elements === undefined ? undefined : broadcast(dims, shape.elements),
  ),
  Pad: shaped((node, dims, [, input]) => {
    const pads = intsAttribute(node, 'pads') ?? input?.elements;
    if (pads?.length !== dims.length * 2) return undefined;
    return dims.map(
      (size, axis) => size + (pads[axis] as number) + (pads[axis + dims.length] as number),
    );
  }),
  ReduceMean: shaped(reduced),
  ReduceMax: shaped(reduced),
  ReduceSum: shaped(reduced),
  Gather: (node, [x, indices]) => {
    if (x?.dims == null || indices?.dims == null) return [];
    const axis = fromEnd(intAttribute(node, 'axis', 0), x.dims.length);
    const dims = [...x.dims.slice(0, axis), ...indices.dims, ...x.dims.slice(axis + 1)];
    const { elements } = x;
    const picked =
      elements !== undefined && x.dims.length === 1
        ? indices.elements?.map((at) => elements[fromEnd(at, elements.length)] as number)
        : undefined;
    return [known(x.dataType, dims, picked)];
  },
  Concat: (node, inputs) => {
    const parts = inputs.map((input) => input?.dims ?? null);
    const [first] = parts;
    if (first == null || parts.some((dims) => dims === null)) return [];
    const axis = fromEnd(intAttribute(node, 'axis', 0), first.length);
    const total = parts.reduce((sum, dims) => sum + (dims?.[axis] ?? 0), 0);
    const all = first.length === 1 && inputs.every((input) => input?.elements !== undefined);
    const elements = all ? inputs.flatMap((input) => input?.elements ?? []) : undefined;
    return [known(inputs[0]?.dataType ?? 0, first.with(axis, total), elements)];
  },
  Split: (node, [x, sizes]) => {
    if (x?.dims == null) return [];
    const { dims } = x;
    const axis = fromEnd(intAttribute(node, 'axis', 0), dims.length);
    const parts = intsAttribute(node, 'split') ?? sizes?.elements;
    const even = Math.ceil((dims[axis] as number) / node.output.length);
    const last = (dims[axis] as number) - even * (node.output.length - 1);
    return node.output.map((_, at) =>
      known(
        x.dataType,
        dims.with(axis, parts?.[at] ?? (at === node.output.length - 1 ? last : even)),
      ),
    );
  },
  Slice: (_, [x, starts, ends, axes, steps]) => {
    if (x?.dims == null || starts?.elements === undefined || ends?.elements === undefined)
      return [];
    let dims = x.dims;
    let { elements } = x;
    for (const [at, start] of starts.elements.entries()) {
      const step = steps?.elements?.[at] ?? 1;
      if (step < 1) return [];
      const axis = fromEnd(axes?.elements?.[at] ?? at, dims.length);
      const size = dims[axis] as number;
      const from = Math.min(Math.max(fromEnd(start, size), 0), size);
      const to = Math.min(Math.max(fromEnd(ends.elements[at] as number, size), 0), size);
      dims = dims.with(axis, Math.max(0, Math.ceil((to - from) / step)));
      elements =
        dims.length === 1 ? elements?.slice(from, to).filter((_, i) => i % step === 0) : undefined;
    }
    return [known(x.dataType, dims, elements)];
  },
  TopK: (node, [x, k]) => {
    const count = k?.elements?.[0];
    if (x?.dims == null || count === undefined) return [];
    const dims = x.dims.with(fromEnd(intAttribute(node, 'axis', -1), x.dims.length), count);
    return [known(x.dataType, dims), known(DataType.INT64, dims)];
  },
};

/** `[…, m, k] · […, k, n]`, the leading axes broadcast; a vector on either side loses its axis. */
function product(dataType?: number): Rule {
  return (_, [a, b]) => {
    if (a?.dims == null || b?.dims == null || a.dims.length < 1 || b.dims.length < 1) return [];
    const rows = a.dims.length > 1 ? [a.dims.at(-2) as number] : [];
    const columns = b.dims.length > 1 ? [b.dims.at(-1) as number] : [];
    const leading = broadcast(a.dims.slice(0, -2), b.dims.slice(0, -2));
    return [known(dataType ?? a.dataType, [...leading, ...rows, ...columns])];
  };
}

function reduced(node: NodeProto, dims: Dims, [, input]: Inputs): Dims {
  const given = intsAttribute(node, 'axes') ?? input?.elements ?? dims.map((_, axis) => axis);
  const axes = given.map((axis) => fromEnd(axis, dims.length));
  const keeps = intAttribute(node, 'keepdims', 1) !== 0;
  return dims.flatMap((size, axis) => (axes.includes(axis) ? (keeps ? [1] : []) : [size]));
}

function flipped(value: KnownValue | undefined, flip: number): KnownValue | undefined {
  if (flip === 0 || value?.dims == null) return value;
  const { dims } = value;
  return { ...value, dims: [...dims.slice(0, -2), dims.at(-1) as number, dims.at(-2) as number] };
}

function known(dataType: number, dims: Dims | null, elements?: readonly number[]): KnownValue {
  return elements === undefined ? { dataType, dims } : { dataType, dims, elements };
}

function combineElements(
  a: KnownValue,
  b: KnownValue,
  dims: Dims,
  combine: (a: number, b: number) => number,
) {
  if (a.elements === undefined || b.elements === undefined || dims.length > 1) return undefined;
  return Array.from({ length: sizeOf(dims) }, (_, at) =>
    combine(elementAt(a, at), elementAt(b, at)),
  );
}

/** The element of a scalar or vector at an index; a single element stands for every index. */
function elementAt({ elements = [] }: KnownValue, at: number): number {
  return elements[elements.length === 1 ? 0 : at] ?? 0;
}

function broadcast(a: Dims, b: Dims): Dims {
  const length = Math.max(a.length, b.length);
  return Array.from({ length }, (_, axis) => {
    const [left, right] = [a[axis - length + a.length] ?? 1, b[axis - length + b.length] ?? 1];
    return left === 1 ? right : left;
  });
}

function sizeOf(dims: Dims): number {
  return dims.reduce((product, size) => product * size, 1);
}

function fromEnd(index: number, length: number): number {
  return index < 0 ? index + length : index;
}
