/**
 * Reads tensors whose values are in a file beside the model (ONNX: `docs/ExternalData.md`) into
 * memory.
 *
 * A model comes from elsewhere and says which files to read, so it may name only regular files in
 * its own folder: no absolute path, no `..`, no symbolic link that leads out. A region is read once
 * however many tensors share it. Regions may not overlap otherwise, so the size of the files bounds
 * the memory.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { dirname, join, posix, sep, win32 } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';
import type { GraphProto, TensorProto } from './model-proto.js';
import { byteSizeOf } from './tensors.js';

const PIECE_BYTES = 256 * 1024 * 1024;

/**
 * Reads `length` bytes of an open file, all of which must exist. In pieces, since one read ends at
 * 2 GiB.
 */
export async function readRegion(
  file: FileHandle,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  // Memory of its own: the bytes live as long as the model, and 64-bit values need an aligned
  // start.
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(
      bytes,
      done,
      Math.min(PIECE_BYTES, length - done),
      offset + done,
    );
    if (bytesRead === 0) throw new Error(`it ended at byte ${offset + done} while it was read`);
    done += bytesRead;
  }
  return bytes;
}

/** All tensors of a graph: initializers, attributes, and those of graphs in attributes. */
export function* tensorsOf(graph: GraphProto): Iterable<TensorProto> {
  yield* graph.initializer;
  for (const node of graph.node) {
    for (const { t, g } of node.attribute) {
      if (t !== undefined) yield t;
      if (g !== undefined) yield* tensorsOf(g);
    }
  }
}

interface Region {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * Puts every tensor's external values into `rawData`. Reports everything that can't be read at
 * once, in a SetupError.
 */
export async function loadExternalData(modelPath: string, graph: GraphProto): Promise<void> {
  const problems: string[] = [];
  const byLocation = new Map<string, { tensor: TensorProto; region: Region }[]>();
  for (const tensor of tensorsOf(graph)) {
    if (tensor.externalData.length === 0 && tensor.dataLocation === 0) continue;
    try {
      const region = regionOf(tensor);
      const others = byLocation.get(region.location);
      if (others === undefined) byLocation.set(region.location, [{ tensor, region }]);
      else others.push({ tensor, region });
    } catch (error) {
      problems.push(`${modelPath}: ${messageOf(error)}`);
    }
  }
  for (const [location, tensors] of byLocation) {
    try {
      await readTensors(await resolveInside(dirname(modelPath), location), tensors);
    } catch (error) {
      const [{ tensor } = { tensor: { name: '' } }] = tensors;
      const reason = messageOf(error);
      problems.push(
        `${modelPath}: tensor "${tensor.name}" has its values in "${location}", ` +
          `which can't be read (${reason})`,
      );
    }
  }
  if (problems.length > 0) throw new SetupError('environment', problems);
}

function regionOf(tensor: TensorProto): Region {
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  const wrong = (problem: string) => new Error(`tensor "${tensor.name}" ${problem}`);
  const location = entries.get('location') ?? '';
  if (location === '') throw wrong('has its values in another file but does not name it');
  const size = byteSizeOf(tensor);
  const offset = Number(entries.get('offset') ?? 0);
  const length = Number(entries.get('length') ?? size);
  if (!Number.isSafeInteger(offset) || offset < 0)
    throw wrong(`has the offset "${entries.get('offset')}" in ${location}`);
  if (length !== size)
    throw wrong(`has ${entries.get('length')} bytes in ${location}; its dims take ${size}`);
  return { location, offset, length };
}

/** The real path of a location, which must be inside the folder. */
async function resolveInside(folder: string, location: string): Promise<string> {
  if (posix.isAbsolute(location) || win32.isAbsolute(location))
    throw new Error('absolute paths are not allowed');
  if (location.split(/[/\\]/).includes('..')) throw new Error('paths with ".." are not allowed');
  const root = await realpath(folder);
  const path = await realpath(join(root, location));
  if (path.startsWith(root.endsWith(sep) ? root : root + sep)) return path;
  throw new Error(
    "a link leads out of the model's folder: put a copy of the file beside the model",
  );
}

async function readTensors(
  path: string,
  tensors: readonly { tensor: TensorProto; region: Region }[],
): Promise<void> {
  // Non-blocking: opening a pipe would otherwise wait for a writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error('it is not a regular file');
    const loaded = new Map<string, Uint8Array>();
    let total = 0;
    for (const { tensor, region } of tensors) {
      const { offset, length } = region;
      if (offset + length > stat.size) {
        throw new Error(
          `tensor "${tensor.name}" ends at byte ${offset + length}, the file at ${stat.size}`,
        );
      }
      const key = `${offset}+${length}`;
      if (!loaded.has(key)) {
        total += length;
        if (total > stat.size) throw new Error('its tensors overlap');
        loaded.set(key, await readRegion(file, offset, length));
      }
      tensor.rawData = loaded.get(key) ?? new Uint8Array(0);
      tensor.externalData = [];
      tensor.dataLocation = 0;
    }
  } finally {
    await file.close();
  }
}
