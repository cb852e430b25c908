/**
 * Loaded for its effect: tensors of float16 keep their data as a Uint16Array, in every Node.js.
 *
 * If JavaScript has a Float16Array (Node.js 24), onnxruntime's Tensor converts the given
 * Uint16Array into one, and onnxruntime-node does not recognise that as bytes and rejects it
 * (microsoft/onnxruntime#32323). Tensor looks for Float16Array once, when the first tensor is made.
 * So this module makes the first one while Float16Array is hidden.
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
