/**
 * Checkpoints in the safetensors format: one file, or several behind
 * `model.safetensors.index.json`.
 *
 * A file is a u64 header length, a JSON header, and the tensors' bytes. It may come from anywhere,
 * so the whole header is checked before anything is read (types, shapes, offsets in bounds, no
 * overlap). A tensor is read, by position, when it is requested: an open checkpoint costs its
 * header, and each tensor costs its size as float32 while the caller keeps it.
 *
 * Source: the format's description in huggingface/safetensors (README, "Format").
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { basename } from 'node:path';
import { messageOf } from '../../errors.js';
import { readFullyAt } from '../../system/positional-io.js';
import { checkpointProblem, chooseFile, type Index, readIndex } from './checkpoint-files.js';
import { widenBfloat16, widenFloat16 } from './float16.js';
import { parseHeader, type StoredTensor } from './safetensors-header.js';

/** The format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;

interface TensorFile {
  readonly path: string;
  readonly descriptor: number;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

type Places = ReadonlyMap<string, { readonly file: TensorFile; readonly tensor: StoredTensor }>;

/** Named float tensors, wherever they come from. */
export interface TensorSource {
  readonly names: readonly string[];
  /** Undefined where there is no such tensor. */
  shapeOf(name: string): readonly number[] | undefined;
  /**
   * The values as float32, row by row, in memory of their own. Throws SetupError for a missing
   * tensor or another type.
   */
  read(name: string): Float32Array;
}

/**
 * An open checkpoint; `close` it. F32 is read as it is; F16 and BF16 are widened, which is exact;
 * reading another type throws.
 */
export class Checkpoint implements TensorSource {
  readonly names: readonly string[];
  /** Bytes of all tensors as they are stored. */
  readonly bytes: number;
  readonly #files: readonly TensorFile[];
  readonly #places: Places;

  private constructor(files: readonly TensorFile[], places: Places) {
    this.#files = files;
    this.#places = places;
    this.names = [...places.keys()];
    this.bytes = [...places.values()].reduce(
      (sum, { tensor }) => sum + tensor.end - tensor.begin,
      0,
    );
  }

  /**
   * Opens a `.safetensors` file, an index, or a folder with either. Throws SetupError with what is
   * wrong and what to do.
   */
  static open(path: string): Checkpoint {
    const chosen = chooseFile(path);
    const index = chosen.endsWith('.index.json') ? readIndex(chosen) : null;
    const paths = index === null ? [chosen] : index.files;
    const files: TensorFile[] = [];
    try {
      for (const one of paths) files.push(openFile(one));
      return new Checkpoint(files, place(files, index));
    } catch (error) {
      for (const { descriptor } of files) closeSync(descriptor);
      throw error;
    }
  }

  shapeOf(name: string): readonly number[] | undefined {
    return this.#places.get(name)?.tensor.shape;
  }

  read(name: string): Float32Array {
    const found = this.#places.get(name);
    if (found === undefined) throw checkpointProblem('the checkpoint', [`has no tensor ${name}`]);
    const { file, tensor } = found;
    const bytes = readAt(file, tensor.begin, tensor.end - tensor.begin);
    switch (tensor.type) {
      case 'F32':
        return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      case 'F16':
        return widenFloat16(bytes);
      case 'BF16':
        return widenBfloat16(bytes);
      default:
        throw checkpointProblem(file.path, [
          `tensor ${name} is ${tensor.type}: save it as F32, F16 or BF16`,
        ]);
    }
  }

  close(): void {
    for (const { descriptor } of this.#files) closeSync(descriptor);
  }
}

function openFile(path: string): TensorFile {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    throw checkpointProblem(path, [`can't be read (${messageOf(error)})`]);
  }
  try {
    const { size } = fstatSync(descriptor);
    const file = { path, descriptor, tensors: new Map<string, StoredTensor>() };
    if (size < 8)
      throw checkpointProblem(path, [`has ${size} bytes: it is not a safetensors file`]);
    const length = Number(new DataView(readAt(file, 0, 8).buffer).getBigUint64(0, true));
    if (length > MAX_HEADER_BYTES || 8 + length > size) {
      throw checkpointProblem(path, [
        `its header would take ${length} bytes of ${size}: it is truncated or not a safetensors file`,
      ]);
    }
    const text = new TextDecoder().decode(readAt(file, 8, length));
    return { ...file, tensors: parseHeader(path, text, 8 + length, size) };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function place(files: readonly TensorFile[], index: Index | null): Places {
  const all = new Map<string, { file: TensorFile; tensor: StoredTensor }>();
  const problems: string[] = [];
  for (const file of files) {
    for (const [name, tensor] of file.tensors) {
      const wanted = index?.places.get(name);
      if (index === null || wanted === file.path) all.set(name, { file, tensor });
    }
  }
  for (const [name, path] of index?.places ?? []) {
    if (!all.has(name)) problems.push(`weight_map: ${name} is not in ${basename(path)}`);
  }
  if (problems.length > 0) throw checkpointProblem(index?.path ?? '', problems);
  return all;
}

/** Bytes in memory of their own, so that the start is a multiple of eight. */
function readAt(
  { path, descriptor }: TensorFile,
  position: number,
  length: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  if (!readFullyAt(descriptor, bytes, position))
    throw checkpointProblem(path, ['ended while it was read']);
  return bytes;
}
