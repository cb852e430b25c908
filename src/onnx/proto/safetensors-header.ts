/**
 * The header of a safetensors file: which tensors it has, and where. It may come from anywhere, so
 * it is checked as a whole (types, shapes, offsets in bounds, no overlap).
 */
import { messageOf } from '../../errors.js';
import { checkpointProblem } from './checkpoint-files.js';

/** Bytes of one value, for the types that the format knows. */
const TYPE_BYTES: Readonly<Record<string, number>> = {
  ...{ BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1, U16: 2, I16: 2, F16: 2, BF16: 2 },
  ...{ U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8 },
};
export interface StoredTensor {
  readonly type: string;
  readonly shape: readonly number[];
  /** Where its bytes lie in the file; the end is exclusive. */
  readonly begin: number;
  readonly end: number;
}

/**
 * The tensors of a file of `size` bytes with this header. Throws SetupError with everything that is
 * wrong with it.
 */
export function parseHeader(
  path: string,
  headerText: string,
  dataStart: number,
  size: number,
): Map<string, StoredTensor> {
  let header: unknown;
  try {
    header = JSON.parse(headerText);
  } catch (error) {
    throw checkpointProblem(path, [
      `its header is not JSON (${messageOf(error)}): it is damaged or not a safetensors file`,
    ]);
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) {
    throw checkpointProblem(path, [
      'its header is not a JSON object: it is damaged or not a safetensors file',
    ]);
  }
  const problems: string[] = [];
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const tensor = readEntry(entry, dataStart, size);
    if (typeof tensor === 'string') problems.push(`tensor ${name}: ${tensor}`);
    else tensors.set(name, tensor);
  }
  let end = dataStart;
  let before = '';
  for (const [name, tensor] of [...tensors].sort(
    ([, a], [, b]) => a.begin - b.begin || a.end - b.end,
  )) {
    if (tensor.begin < end) problems.push(`tensor ${name}: its bytes overlap those of ${before}`);
    end = Math.max(end, tensor.end);
    before = name;
  }
  if (problems.length > 0) throw checkpointProblem(path, problems);
  return tensors;
}

function readEntry(entry: unknown, dataStart: number, size: number): StoredTensor | string {
  if (typeof entry !== 'object' || entry === null) return 'its entry is not an object';
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  const width =
    typeof dtype === 'string' && Object.hasOwn(TYPE_BYTES, dtype) ? TYPE_BYTES[dtype] : undefined;
  if (typeof dtype !== 'string' || width === undefined)
    return `dtype ${JSON.stringify(dtype)} is unknown`;
  if (!Array.isArray(shape) || !shape.every(isCount))
    return `shape ${JSON.stringify(shape)} is not a list of sizes`;
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return `data_offsets ${JSON.stringify(offsets)} are not a begin and an end`;
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || dataStart + end > size)
    return `data_offsets ${begin} to ${end} lie outside the file (truncated?)`;
  const wanted = (shape as number[]).reduce((product, one) => product * one, width);
  if (wanted !== end - begin)
    return `${dtype} [${shape.join(', ')}] takes ${wanted} bytes, data_offsets give ${end - begin}`;
  return { type: dtype, shape: shape as number[], begin: dataStart + begin, end: dataStart + end };
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
