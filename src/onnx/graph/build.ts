/**
 * Makes graph messages: every field that TypeScript requires, with the values that mean "absent".
 *
 * Nothing is checked here beyond what the types say; `checkGraph` (check.ts) does that for a whole
 * graph.
 */
import {
  type AttributeProto,
  AttributeType,
  type Dimension,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type OperatorSetId,
  type StringEntry,
  type TensorProto,
  type ValueInfoProto,
} from '../proto/model-proto.js';

/** The value of an attribute. A number is ambiguous in ONNX, so say `float()` or `int()`. */
export type AttributeValue = Omit<AttributeProto, 'name'>;

const ABSENT = () => ({ docString: '', floats: [], ints: [], strings: [] });

export function float(value: number): AttributeValue {
  return { ...ABSENT(), type: AttributeType.FLOAT, f: value };
}

export function int(value: number): AttributeValue {
  return { ...ABSENT(), type: AttributeType.INT, i: value };
}

export function ints(values: readonly number[]): AttributeValue {
  return { ...ABSENT(), type: AttributeType.INTS, ints: [...values] };
}

export function floats(values: readonly number[]): AttributeValue {
  return { ...ABSENT(), type: AttributeType.FLOATS, floats: [...values] };
}

export function text(value: string): AttributeValue {
  return { ...ABSENT(), type: AttributeType.STRING, s: new TextEncoder().encode(value) };
}

export function tensor(value: TensorProto): AttributeValue {
  return { ...ABSENT(), type: AttributeType.TENSOR, t: value };
}

export interface NodeOptions {
  /** Default: the first output's name. */
  readonly name?: string;
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

/** A node. An absent optional input is ''. */
export function nodeOf(
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  options: NodeOptions = {},
): NodeProto {
  return {
    input: [...inputs],
    output: [...outputs],
    name: options.name ?? outputs[0] ?? '',
    opType,
    domain: options.domain ?? '',
    attribute: Object.entries(options.attributes ?? {}).map(([name, value]) => ({
      name,
      ...value,
    })),
    docString: '',
    metadataProps: [],
  };
}

/** A graph input or output: sizes, symbolic names, or null for a size that is unknown. */
export function valueInfoOf(
  name: string,
  elemType: number,
  dims: readonly (number | string | null)[],
): ValueInfoProto {
  return {
    name,
    docString: '',
    type: { tensorType: { elemType, shape: { dim: dims.map(dimensionOf) } }, denotation: '' },
  };
}

function dimensionOf(size: number | string | null): Dimension {
  if (size === null) return { denotation: '' };
  return typeof size === 'number'
    ? { dimValue: size, denotation: '' }
    : { dimParam: size, denotation: '' };
}

/** A graph; lists that are not given are empty. */
export function graphOf(name: string, parts: Partial<Omit<GraphProto, 'name'>>): GraphProto {
  return {
    node: [],
    initializer: [],
    docString: '',
    input: [],
    output: [],
    valueInfo: [],
    metadataProps: [],
    ...parts,
    name,
  };
}

export interface ModelOptions {
  /** Default 8, which belongs to opsets 17 and 18; every runtime of recent years reads it. */
  readonly irVersion?: number;
  /** Domain to version; '' is the standard operators. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly producerName?: string;
  readonly producerVersion?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

export function modelOf(graph: GraphProto, options: ModelOptions): ModelProto {
  const opsetImport: OperatorSetId[] = Object.entries(options.opsets).map(([domain, version]) => ({
    domain,
    version,
  }));
  const metadataProps: StringEntry[] = Object.entries(options.metadata ?? {}).map(
    ([key, value]) => ({ key, value }),
  );
  return {
    irVersion: options.irVersion ?? 8,
    producerName: options.producerName ?? 'vitserve',
    producerVersion: options.producerVersion ?? '',
    domain: '',
    modelVersion: 0,
    docString: '',
    graph,
    opsetImport,
    metadataProps,
  };
}
