/**
 * Models as files: one `.onnx` and, where that would exceed protobuf's 2 GiB, the weights in a
 * second file beside it.
 *
 * A model that was read is whole, wherever its weights were. Writing is atomic for each file
 * (atomic-file.ts); of two files, the weights are placed first. All problems are SetupErrors that
 * name the file.
 */
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';
import { type PendingFile, type WrittenFile, writeBeside } from './atomic-file.js';
import { decodeModel, encodedSizeOf, encodeModelChunks, MAX_MODEL_BYTES } from './codec.js';
import { loadExternalData, readRegion, tensorsOf } from './external-data.js';
import type { ModelProto, TensorProto } from './model-proto.js';

export interface WrittenModel extends WrittenFile {
  /** The file of weights beside the model, or null where the model is one file. */
  readonly externalData: WrittenFile | null;
}

export interface ReadOptions {
  /**
   * false: tensors with external data keep `externalData` and get no `rawData`; their files need
   * not exist. Default true.
   */
  readonly loadExternalData?: boolean;
}

export interface WriteOptions {
  /**
   * `auto` (default): a second file `<name>.data` only where one file would exceed 2 GiB. `never`:
   * such a model is rejected. `always`: for any size.
   */
  readonly externalData?: 'auto' | 'never' | 'always';
}

/**
 * Offsets in the file of weights are multiples of this, so that runtimes can map it (ONNX:
 * `docs/ExternalData.md`).
 */
const ALIGNMENT = 4096;

/**
 * Smaller tensors stay in the model, where shapes and scalars can be read without the second file.
 */
const EXTERNAL_FROM_BYTES = 1024;

/**
 * Reads a model, its external data included. Throws SetupError that names the file, and the tensor
 * if one is at fault.
 */
export async function readModel(path: string, options: ReadOptions = {}): Promise<ModelProto> {
  const model = decodeNamed(path, await readWhole(path));
  if (options.loadExternalData ?? true) await loadExternalData(path, model.graph);
  return model;
}

async function readWhole(path: string): Promise<Uint8Array> {
  try {
    const file = await open(path, 'r');
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new Error('it is not a regular file');
      if (stat.size > MAX_MODEL_BYTES) {
        throw new Error(
          `it has ${stat.size} bytes, more than the 2 GiB of an ONNX file: export it with external data`,
        );
      }
      return await readRegion(file, 0, stat.size);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new SetupError('environment', [`${path}: can't be read (${messageOf(error)})`], {
      cause: error,
    });
  }
}

function decodeNamed(path: string, bytes: Uint8Array): ModelProto {
  try {
    return decodeModel(bytes);
  } catch (error) {
    throw new SetupError('environment', [`${path}: not an ONNX model (${messageOf(error)})`], {
      cause: error,
    });
  }
}

/** Writes a model; its folder must exist. Throws SetupError that names the file. */
export async function writeModel(
  path: string,
  model: ModelProto,
  options: WriteOptions = {},
): Promise<WrittenModel> {
  for (const tensor of tensorsOf(model.graph)) {
    if (tensor.externalData.length === 0 || tensor.rawData !== undefined) continue;
    throw new SetupError('environment', [
      `${path}: tensor "${tensor.name}" has its values in a file that was not read`,
    ]);
  }
  const mode = options.externalData ?? 'auto';
  const pending: PendingFile[] = [];
  try {
    if (mode === 'always' || (mode === 'auto' && encodedSizeOf(model) > MAX_MODEL_BYTES)) {
      const outside = moveWeightsOut(model, `${basename(path)}.data`);
      const weights = await writeBeside(`${path}.data`, outside.chunks);
      pending.push(weights);
      const main = await writeBeside(path, encodeModelChunks(outside.model));
      pending.push(main);
      for (const file of pending) await file.place();
      return { ...writtenFile(main), externalData: writtenFile(weights) };
    }
    const main = await writeBeside(path, encodeModelChunks(model));
    pending.push(main);
    await main.place();
    return { ...writtenFile(main), externalData: null };
  } catch (error) {
    for (const file of pending) await file.discard();
    throw new SetupError('environment', [`${path}: can't be written (${messageOf(error)})`], {
      cause: error,
    });
  }
}

function writtenFile({ path, bytes, sha256 }: WrittenFile): WrittenFile {
  return { path, bytes, sha256 };
}

/**
 * The model with its large initializers in a file of that name, and that file's bytes. The given
 * model stays as it was.
 */
function moveWeightsOut(
  model: ModelProto,
  location: string,
): { model: ModelProto; chunks: Uint8Array[] } {
  const chunks: Uint8Array[] = [];
  let end = 0;
  const initializer = model.graph.initializer.map((tensor): TensorProto => {
    const { rawData, ...rest } = tensor;
    if (rawData === undefined || rawData.length < EXTERNAL_FROM_BYTES) return tensor;
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    if (offset > end) chunks.push(new Uint8Array(offset - end));
    chunks.push(rawData);
    end = offset + rawData.length;
    const entries = { location, offset: `${offset}`, length: `${rawData.length}` };
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
    return { ...rest, externalData, dataLocation: 1 };
  });
  return { model: { ...model, graph: { ...model.graph, initializer } }, chunks };
}
