/**
 * Runs any graph in onnxruntime on the CPU, unchanged: for checks of graphs that no manifest
 * describes yet. Served graphs go through `onnx-session.ts`.
 *
 * Tensors are their bytes (little-endian, row by row), because not every Node.js has an array type
 * for float16. One thread, so that figures repeat; an execution blocks the process.
 */
import { messageOf, SetupError } from '../../errors.js';
import './half-tensors.js';
import { type OpenSession, openSession, Tensor } from './onnxruntime.js';

export interface RawTensor {
  readonly type: 'float32' | 'float16' | 'uint8';
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

export interface RunnableGraph {
  /** Runs once and returns the requested outputs. Rejects with onnxruntime's error. */
  run(
    feeds: Readonly<Record<string, RawTensor>>,
    outputs: readonly string[],
  ): Promise<Map<string, RawTensor>>;
  close(): Promise<void>;
}

/**
 * Loads a graph file, external data included. Throws SetupError with onnxruntime's text if that
 * fails.
 */
export async function openGraph(path: string): Promise<RunnableGraph> {
  let session: OpenSession;
  try {
    session = await openSession(path, { quiet: true });
  } catch (error) {
    throw new SetupError('environment', [
      `${path}: onnxruntime can't load it (${firstLine(messageOf(error))})`,
    ]);
  }
  return {
    async run(feeds, outputs) {
      const tensors = Object.entries(feeds).map(
        ([name, tensor]) => [name, toTensor(tensor)] as const,
      );
      const results = await session.run(Object.fromEntries(tensors), [...outputs]);
      return new Map(
        Object.entries(results).map(([name, tensor]) => [name, fromTensor(name, tensor)]),
      );
    },
    close: () => session.release(),
  };
}

function toTensor({ type, dims, bytes }: RawTensor): Tensor {
  if (type === 'uint8') return new Tensor(type, bytes, dims);
  const [buffer, offset, length] = [bytes.buffer, bytes.byteOffset, bytes.byteLength];
  if (type === 'float32')
    return new Tensor(type, new Float32Array(buffer, offset, length / 4), dims);
  return new Tensor(type, new Uint16Array(buffer, offset, length / 2), dims);
}

function fromTensor(name: string, { type, dims, data }: Tensor): RawTensor {
  if (type !== 'float32' && type !== 'float16' && type !== 'uint8')
    throw new Error(`output ${name} is ${type}`);
  const { buffer, byteOffset, byteLength } = data as Uint8Array | Uint16Array | Float32Array;
  return { type, dims, bytes: new Uint8Array(buffer, byteOffset, byteLength) };
}

function firstLine(text: string): string {
  return (text.split('\n')[0] ?? '').slice(0, 300);
}
