/**
 * Finds the graph's pixel input: name, layout, size, element type. The shape decides if it can;
 * otherwise `config.json` decides, then the user.
 */
import { describeValue, type GraphView, type ValueView } from './graph-view.js';
import type { Size, SourceConfig } from './source-config.js';

export type Layout = 'NCHW' | 'NHWC';

export interface FoundInput {
  readonly name: string;
  readonly layout: Layout;
  readonly typeName: 'float32' | 'float16' | 'uint8';
  readonly size: Size;
}

export interface InputFlags {
  readonly layout: Layout | null;
  readonly inputSize: Size | null;
}

const TYPES: readonly string[] = ['float32', 'float16', 'uint8'];
const LARGEST_SIDE = 4096;

/** Null if there are problems, which are added to the list. */
export function findInput(
  graph: GraphView,
  config: SourceConfig | null,
  flags: InputFlags,
  problems: string[],
): FoundInput | null {
  const [input, ...others] = graph.inputs;
  if (input === undefined || others.length > 0) {
    const names = graph.inputs.map(({ name }) => name).join(', ');
    problems.push(
      input === undefined
        ? 'the graph has no input'
        : `the graph has ${graph.inputs.length} inputs (${names}): export it with one, for the image`,
    );
    return null;
  }
  const { dims } = input;
  const what = `input "${input.name}" is ${describeValue(input)}`;
  if (dims !== null && dims.length !== 4) {
    problems.push(
      `${what}: export it with four axes, [batch, 3, height, width] or [batch, height, width, 3]`,
    );
    return null;
  }
  if (!TYPES.includes(input.typeName)) {
    problems.push(`${what}: export it as float32, float16 or uint8`);
    return null;
  }
  const before = problems.length;
  const layout = findLayout(input, flags.layout, what, problems);
  const size =
    layout === null ? null : findSize(input, layout, config, flags.inputSize, what, problems);
  const saysNoSize = dims === null || dims.slice(1).every((dim) => typeof dim !== 'number');
  if (layout === null && saysNoSize && flags.inputSize === null && !config?.imageSize)
    problems.push(sizeMissing(what));
  if (layout === null || size === null || problems.length > before) return null;
  return { name: input.name, layout, typeName: input.typeName as FoundInput['typeName'], size };
}

function findLayout(
  input: ValueView,
  flag: Layout | null,
  what: string,
  problems: string[],
): Layout | null {
  const first = input.dims?.[1] ?? null;
  const last = input.dims?.[3] ?? null;
  // `num_channels` is optimum's name for an open axis; `pixel_values` is NCHW in all of
  // transformers.
  const channelsAt = (axis: number | string | null) =>
    axis === 3 || (typeof axis === 'string' && /channel/i.test(axis));
  const open = typeof first !== 'number' && typeof last !== 'number';
  const can: Record<Layout, boolean> = {
    NCHW: channelsAt(first) || (typeof first !== 'number' && last !== 3),
    NHWC: channelsAt(last) || (typeof last !== 'number' && first !== 3),
  };
  if (flag !== null) {
    if (can[flag] || open) return flag;
    problems.push(`${what}, which can't be ${flag}: leave out --layout or give the other one`);
    return null;
  }
  if (channelsAt(first) !== channelsAt(last)) return channelsAt(first) ? 'NCHW' : 'NHWC';
  if (open && input.name === 'pixel_values') return 'NCHW';
  if (can.NCHW || can.NHWC) {
    problems.push(
      `${what}, and nothing says where the colours are: give --layout, such as --layout NCHW`,
    );
  } else problems.push(`${what}: export it with three channels, for red, green and blue`);
  return null;
}

function findSize(
  input: ValueView,
  layout: Layout,
  config: SourceConfig | null,
  flag: Size | null,
  what: string,
  problems: string[],
): Size | null {
  const [height, width] =
    layout === 'NCHW' ? [input.dims?.[2], input.dims?.[3]] : [input.dims?.[1], input.dims?.[2]];
  const said = flag ?? config?.imageSize ?? null;
  const side = (fixed: number | string | null | undefined, told: number | undefined) =>
    typeof fixed === 'number' && fixed > 0 ? fixed : told;
  const size = { height: side(height, said?.height), width: side(width, said?.width) };
  if (size.height === undefined || size.width === undefined) {
    problems.push(sizeMissing(what));
    return null;
  }
  const found = { height: size.height, width: size.width };
  if (flag !== null && (flag.height !== found.height || flag.width !== found.width)) {
    problems.push(
      `--input-size ${flag.height}x${flag.width} does not fit, because ${what}: leave it out`,
    );
  }
  if (Math.max(found.height, found.width) > LARGEST_SIDE)
    problems.push(`${what}: export it with at most ${LARGEST_SIDE} pixels a side`);
  return found;
}

function sizeMissing(what: string): string {
  return `${what}, and nothing says its height and width: give --input-size, such as --input-size 224`;
}
