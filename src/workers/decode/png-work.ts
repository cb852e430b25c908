/**
 * Removes from a PNG file what its pixels don't need, if there is much of that: texts and profiles
 * that libpng would inflate, and chunks that it would keep. All other files stay unchanged.
 *
 * A broken chunk, and everything behind it, stays: libpng must find the damage. Costs a look at
 * each chunk's head, some 50 ns; a file that is cut down is copied once.
 */
import { RequestError } from '../../errors.js';
import type { Header } from './header.js';
import { tooMuchWork, WORK_LIMITS } from './work-limits.js';

const SIGNATURE_BYTES = 8;
/** Length, type and checksum. */
const FRAME_BYTES = 12;
const REMEDY = 'save it again';
/** PNG specification, 11.2.1: samples of a pixel by colour type. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

const typeCode = (name: string): number => Buffer.from(name, 'latin1').readUInt32BE(0);
const IDAT = typeCode('IDAT');
const IEND = typeCode('IEND');
/** Beside the critical ones: transparency, which separates colours, and the orientation. */
const NEEDED: ReadonlySet<number> = new Set(['tRNS', 'eXIf'].map(typeCode));
/**
 * PNG specification, 5.4: a lower-case first letter means that a picture can be displayed without
 * the chunk.
 */
const ANCILLARY_BIT = 0x2000_0000;

/** @throws RequestError */
export function leanPng(bytes: Buffer, header: Header | undefined): Buffer {
  const { pngChunks, pngExtraBytes, pngExtraChunks } = WORK_LIMITS;
  const kept: Buffer[] = [];
  let keptFrom = 0;
  let [chunks, dataBytes, extraChunks, extraBytes] = [0, 0, 0, 0];
  let at = SIGNATURE_BYTES;
  while (at + FRAME_BYTES <= bytes.length) {
    const length = bytes.readUInt32BE(at);
    const end = at + FRAME_BYTES + length;
    if (end > bytes.length) break;
    if (++chunks > pngChunks) throw tooMuchWork('png', `more than ${pngChunks} chunks`, REMEDY);
    const type = bytes.readUInt32BE(at + 4);
    if (type === IDAT) dataBytes += length;
    else if ((type & ANCILLARY_BIT) !== 0 && !NEEDED.has(type)) {
      extraChunks++;
      extraBytes += length;
      if (at > keptFrom) kept.push(bytes.subarray(keptFrom, at));
      keptFrom = end;
    }
    at = end;
    if (type === IEND) break;
  }
  if (header !== undefined) checkDataBytes(dataBytes, header, bytes);
  if (extraChunks <= pngExtraChunks && extraBytes <= pngExtraBytes) return bytes;
  kept.push(bytes.subarray(keptFrom));
  return Buffer.concat(kept);
}

/** Data longer than all rows together hold something else, which libpng would inflate too. */
function checkDataBytes(dataBytes: number, { width, height }: Header, bytes: Buffer): void {
  const bitsPerPixel = (bytes[24] as number) * (CHANNELS[bytes[25] as number] ?? 4);
  const rowBytes = 1 + Math.ceil((width * bitsPerPixel) / 8);
  const most = WORK_LIMITS.pngDataFactor * rowBytes * height + WORK_LIMITS.pngDataBytes;
  if (dataBytes <= most) return;
  const text =
    `the PNG image can't be decoded: ${dataBytes} bytes of image data, ` +
    `which is more than ${width} × ${height} pixels have: ${REMEDY}`;
  throw new RequestError('IMAGE_UNDECODABLE', text);
}
