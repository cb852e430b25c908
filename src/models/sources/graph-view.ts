/**
 * What the recognition of a model needs to know of its graph: plain data, so that a test can write
 * it down. `onnx/graph/graph-view.ts` makes it from a graph.
 */

export interface ValueView {
  readonly name: string;
  /** `float32`, `float16`, `uint8`, `int64`, … */
  readonly typeName: string;
  /** A size, a symbolic name, or null (unknown); null as a whole if the rank is unknown. */
  readonly dims: readonly (number | string | null)[] | null;
}

export interface GraphView {
  /** Without the weights, which old exporters list as inputs too. */
  readonly inputs: readonly ValueView[];
  readonly outputs: readonly ValueView[];
  /**
   * Output name to the operator that computes it, skipping those that only change type or shape.
   */
  readonly lastOperators: ReadonlyMap<string, string>;
  readonly operators: ReadonlySet<string>;
  /** Element types of the weights, as in `ValueView`. */
  readonly weightTypes: ReadonlySet<string>;
}

/** `float32 [batch, 3, 224, 224]`, for messages. */
export function describeValue({ typeName, dims }: ValueView): string {
  return dims === null
    ? `${typeName} of unknown shape`
    : `${typeName} [${dims.map((dim) => dim ?? '?').join(', ')}]`;
}
