/**
 * Whether an error means that memory was short: in Node's buffers, V8's WebAssembly, libvips,
 * libjpeg or libturbojpeg. The file's format is not at fault, so this is told apart from damage.
 */
import { messageOf } from '../../errors.js';

const SAYS_SO =
  /out of memory|insufficient memory|allocat|unable to grow instance memory|no decompressor/i;

export function isMemoryShortage(thrown: unknown): boolean {
  return SAYS_SO.test(messageOf(thrown));
}
