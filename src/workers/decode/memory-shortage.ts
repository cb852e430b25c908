/**
 * Whether something thrown says that there was no memory: by Node's buffers, V8's WebAssembly,
 * libvips, libjpeg or libturbojpeg. Such a failure is none of the file's format, so it is told
 * apart from damage.
 */
import { messageOf } from '../../errors.js';

const SAYS_SO =
  /out of memory|insufficient memory|allocat|unable to grow instance memory|no decompressor/i;

export function isMemoryShortage(thrown: unknown): boolean {
  return SAYS_SO.test(messageOf(thrown));
}
