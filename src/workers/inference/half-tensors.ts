/**
 * Loaded for its effect: tensors of float16 have their data as a Uint16Array, in every Node.js.
 *
 * Where JavaScript has a Float16Array (Node.js 24), onnxruntime's Tensor turns the Uint16Array that
 * it is given into one, and onnxruntime-node, which sees no bytes in that, refuses it
 * (microsoft/onnxruntime#32323). Tensor looks for Float16Array once, when the first one is made. So
 * the first one is made here, while there is none.
 */
import { Tensor } from './onnxruntime.js';

const descriptor = Object.getOwnPropertyDescriptor(globalThis, 'Float16Array');
if (descriptor !== undefined) {
  Reflect.deleteProperty(globalThis, 'Float16Array');
  try {
    new Tensor('uint8', Uint8Array.of(0), [1]);
  } finally {
    Object.defineProperty(globalThis, 'Float16Array', descriptor);
  }
}
