/**
 * The two resampling passes compiled to WebAssembly, and their memory. libturbojpeg decodes into
 * it, so that pixels need not be copied there.
 *
 * Memory grows to what a picture needs and can't shrink, so `settle()` discards an instance that
 * has grown past 16 MiB: at rest no more than that is held. A new instance costs about 0.1 ms; the
 * module is compiled once.
 */

import { RESAMPLE_WASM_BASE64 } from './resample-wasm.generated.js';

export const RETAINED_BYTES = 16 * 1024 * 1024;

/** Readable bytes that must follow every region: SIMD loads read past its end. */
export const SLACK_BYTES = 32;

const PAGE_BYTES = 65_536;

/** The exports of wasm/resample.ts; addresses and strides in bytes. */
export interface Passes {
  resampleHorizontally(
    source: number,
    sourceStride: number,
    rows: number,
    target: number,
    targetStride: number,
    columns: number,
    bounds: number,
    weights: number,
    weightStride: number,
  ): void;
  resampleVertically(
    source: number,
    stride: number,
    firstRow: number,
    target: number,
    rows: number,
    bounds: number,
    weights: number,
    weightStride: number,
  ): void;
  turn(
    source: number,
    stepX: number,
    stepY: number,
    target: number,
    width: number,
    height: number,
  ): void;
}

export interface PassMemory {
  readonly passes: Passes;
  /** A view of at least `bytes` bytes from address 0. Valid until the next call. */
  reserve(bytes: number): Uint8Array<ArrayBuffer>;
  /** The address at which `bytes` begins, or null if it lies elsewhere. */
  addressOf(bytes: Uint8Array): number | null;
  /** Gives memory back after an unusually large picture. */
  settle(): void;
  /** Bytes held now. */
  size(): number;
}

/**
 * The part of the JavaScript API that is used here; TypeScript's ES library does not declare it.
 */
interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Memory: new (options: { initial: number }) => Memory;
  Instance: new (
    module: object,
    imports: { env: { memory: Memory } },
  ) => { readonly exports: unknown };
};

export function createPassMemory(): PassMemory {
  const compiled = new WebAssembly.Module(Buffer.from(RESAMPLE_WASM_BASE64, 'base64'));
  let current = start();

  function start(): { memory: Memory; passes: Passes } {
    const memory = new WebAssembly.Memory({ initial: 1 });
    return {
      memory,
      passes: new WebAssembly.Instance(compiled, { env: { memory } }).exports as Passes,
    };
  }

  return {
    get passes() {
      return current.passes;
    },
    reserve(bytes) {
      const missing = bytes - current.memory.buffer.byteLength;
      if (missing > 0) current.memory.grow(Math.ceil(missing / PAGE_BYTES));
      return new Uint8Array(current.memory.buffer);
    },
    addressOf: (bytes) => (bytes.buffer === current.memory.buffer ? bytes.byteOffset : null),
    settle() {
      if (current.memory.buffer.byteLength > RETAINED_BYTES) current = start();
    },
    size: () => current.memory.buffer.byteLength,
  };
}
