/**
 * Reduces a WebP animation of very many frames to the first frame, which is the only one that is
 * decoded. libvips asks for each frame's duration, and libwebp finds a frame by walking the list
 * from its start. All other files stay unchanged.
 *
 * The removed frames are checked as libwebp would: an animation that ends half-way, or whose chunks
 * don't follow each other, is rejected. Some 50 ns a chunk; a file that is cut down is copied once.
 */
import { RequestError } from '../../errors.js';
import { tooMuchWork, WORK_LIMITS } from './work-limits.js';

/** RFC 9649, 2.3 and 2.4: `RIFF`, size, `WEBP`; each chunk has a name and a size. */
const RIFF_BYTES = 12;
const CHUNK_BYTES = 8;
/** RFC 9649, 2.7.1.1: place, size, duration and flags of a frame, and at least one chunk's head. */
const LEAST_FRAME_BYTES = 16 + CHUNK_BYTES;
const ANMF = Buffer.from('ANMF', 'latin1').readUInt32LE(0);

/** @throws RequestError */
export function singleFrameWebp(bytes: Buffer): Buffer {
  if (bytes.length < RIFF_BYTES) return bytes;
  const { webpFrames, webpChunks } = WORK_LIMITS;
  // Bytes after the end that the file names do not count.
  const fileEnd = CHUNK_BYTES + bytes.readUInt32LE(4);
  const kept: Buffer[] = [];
  let keptFrom = RIFF_BYTES;
  let [frames, others] = [0, 0];
  let sound = fileEnd <= bytes.length;
  let at = RIFF_BYTES;
  while (at + CHUNK_BYTES <= Math.min(fileEnd, bytes.length)) {
    const length = bytes.readUInt32LE(at + 4);
    const end = at + CHUNK_BYTES + length + (length % 2);
    if (end > fileEnd) sound = false;
    if (bytes.readUInt32LE(at) !== ANMF) {
      if (++others > webpChunks)
        throw tooMuchWork('webp', `more than ${webpChunks} chunks`, 'save it again');
    } else if (length < LEAST_FRAME_BYTES) sound = false;
    else if (++frames > 1) {
      if (at > keptFrom) kept.push(bytes.subarray(keptFrom, at));
      keptFrom = end;
    }
    at = end;
  }
  if (frames <= webpFrames) return bytes;
  if (!sound) {
    const text =
      `the WebP image can't be decoded: an animation of ${frames} frames ` +
      'that is damaged or cut off';
    throw new RequestError('IMAGE_UNDECODABLE', text);
  }
  if (keptFrom < fileEnd) kept.push(bytes.subarray(keptFrom, fileEnd));
  const body = Buffer.concat(kept);
  const head = Buffer.from(bytes.subarray(0, RIFF_BYTES));
  head.writeUInt32LE(RIFF_BYTES - CHUNK_BYTES + body.length, 4);
  return Buffer.concat([head, body]);
}
