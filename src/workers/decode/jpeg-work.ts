/**
 * How often a JPEG file goes through its picture: its scans, counted as libjpeg finds them.
 *
 * In doubt it counts more than libjpeg: whatever libjpeg reads as a scan is a scan here too,
 * whether or not the data before it make sense. If the first scan has everything (nearly every
 * baseline photo), reading ends there; otherwise at the end of the file, at about 1 ns a byte.
 */
import { RequestError } from '../../errors.js';
import { tooMuchWork, WORK_LIMITS } from './work-limits.js';

/** ITU-T T.81, table B.1. */
const EOI = 0xd9;
const SOS = 0xda;
const DHT = 0xc4;
const JPG = 0xc8;
const DAC = 0xcc;
const REMEDY = 'save it again as a baseline JPEG';
/** What any file may ask for; even a very thin picture is decoded in whole blocks. */
const LEAST_PIXELS = 1_000_000;
const BLOCK_SIDE = 8;
const BLOCK_SAMPLES = 64;

interface Frame {
  /** Samples by component id. A component that is named twice has the larger number. */
  readonly samples: ReadonlyMap<number, number>;
  readonly components: number;
  readonly width: number;
  readonly height: number;
  readonly progressive: boolean;
  readonly arithmetic: boolean;
}

/** @throws RequestError IMAGE_TOO_LARGE */
export function checkJpegWork(bytes: Buffer, maxImagePixels: number): void {
  const { jpegScans, jpegSegments, jpegSamplesPerPixel, jpegArithmeticFactor, jpegPixelsPerByte } =
    WORK_LIMITS;
  const paidPixels = Math.min(maxImagePixels, bytes.length * jpegPixelsPerByte);
  const mostSamples = jpegSamplesPerPixel * Math.max(paidPixels, LEAST_PIXELS);
  let frame: Frame | null = null;
  let [scans, segments, samples] = [0, 0, 0];
  /**
   * How many of the scans are within the limits; null while all are. The rest is only counted, for
   * the message.
   */
  let allowed: number | null = null;
  // After the start-of-image marker, which sniffing has seen.
  let at = 2;
  for (;;) {
    while (at < bytes.length && bytes[at] !== 0xff) at++;
    while (bytes[at] === 0xff) at++;
    const marker = bytes[at++];
    if (marker === undefined || marker === EOI || at + 2 > bytes.length) break;
    if (!hasLength(marker)) continue;
    const end = at + bytes.readUInt16BE(at);
    if (++segments > jpegSegments)
      throw tooMuchWork('jpeg', `more than ${jpegSegments} segments`, REMEDY);
    const segment = bytes.subarray(at + 2, end);
    if (isFrame(marker)) frame ??= readFrame(marker, segment);
    if (marker === SOS) {
      // Without a frame before it libjpeg rejects the file.
      if (frame === null) return;
      const listed = segment.subarray(1, 1 + 2 * (segment[0] ?? 0));
      if (scans === 0 && !frame.arithmetic) checkBits(frame, bytes);
      // libjpeg reads only one scan if that has all components and is not progressive.
      const isOnly = scans === 0 && !frame.progressive && listed.length === 2 * frame.components;
      if (isOnly && !frame.arithmetic) return;
      samples += samplesOf(frame, listed) * (frame.arithmetic ? jpegArithmeticFactor : 1);
      if (scans === jpegScans || samples > mostSamples) allowed ??= scans;
      scans++;
      if (isOnly) break;
    }
    at = Math.max(end, at + 2);
  }
  if (allowed === null) return;
  const kind = `${scans === 1 ? 'scan' : 'scans'}${frame?.arithmetic ? ' with arithmetic coding' : ''}`;
  throw tooMuchWork(
    'jpeg',
    `${scans} ${kind}; the limit for its pixels and bytes is ${allowed}`,
    REMEDY,
  );
}

/** Fewer bits than blocks: libjpeg would invent the rest. */
function checkBits({ samples, width, height }: Frame, bytes: Buffer): void {
  const blocks = [...samples.values()].reduce((sum, one) => sum + one, 0) / BLOCK_SAMPLES;
  if (blocks <= 8 * bytes.length + WORK_LIMITS.jpegFreeBlocks) return;
  const text =
    `the JPEG image can't be decoded: ${bytes.length} bytes are too few ` +
    `for ${width} × ${height} pixels`;
  throw new RequestError('IMAGE_UNDECODABLE', text);
}

/** Segments that libjpeg knows. Anything else in a file has no length that it would obey. */
function hasLength(marker: number): boolean {
  return (
    (marker >= 0xc0 && marker <= 0xcf && marker !== JPG) ||
    (marker >= SOS && marker <= 0xdd) ||
    (marker >= 0xe0 && marker <= 0xef) ||
    marker === 0xfe
  );
}

function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== DHT && marker !== JPG && marker !== DAC;
}

/** ITU-T T.81, B.2.2. */
function readFrame(marker: number, segment: Buffer): Frame | null {
  if (segment.length < 6) return null;
  const [height, width, components] = [
    segment.readUInt16BE(1),
    segment.readUInt16BE(3),
    segment[5] as number,
  ];
  if (segment.length < 6 + 3 * components) return null;
  const factors = Array.from({ length: components }, (_, index) => {
    const packed = segment[7 + 3 * index] as number;
    return { id: segment[6 + 3 * index] as number, across: packed >> 4, down: packed & 15 };
  });
  const [mostAcross, mostDown] = [
    Math.max(1, ...factors.map(({ across }) => across)),
    Math.max(1, ...factors.map(({ down }) => down)),
  ];
  const samples = new Map<number, number>();
  for (const { id, across, down } of factors) {
    const blocks =
      Math.ceil((width * across) / mostAcross / BLOCK_SIDE) *
      Math.ceil((height * down) / mostDown / BLOCK_SIDE);
    samples.set(id, Math.max(samples.get(id) ?? 0, blocks * BLOCK_SAMPLES));
  }
  return {
    samples,
    components,
    width,
    height,
    progressive: (marker & 3) === 2,
    arithmetic: marker > JPG,
  };
}

/** The samples of one scan. `listed`: a component's id and its tables, two bytes each. */
function samplesOf({ samples }: Frame, listed: Buffer): number {
  let sum = 0;
  for (let at = 0; at < listed.length; at += 2) sum += samples.get(listed[at] as number) ?? 0;
  return sum;
}
