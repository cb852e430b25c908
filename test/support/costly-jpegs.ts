/**
 * JPEG files of a few bytes that ask for much work: many scans of a large picture, most of them
 * with hardly any data. Drawn marker by marker, since no encoder writes such files.
 */
import { oneOf, type Random, randomBytes } from './mutations.js';

const SOI = Buffer.from([0xff, 0xd8]);
const EOI = Buffer.from([0xff, 0xd9]);
/** ITU-T T.81, table B.1. */
const FRAME = {
  baseline: 0xc0,
  progressive: 0xc2,
  arithmetic: 0xc9,
  arithmeticProgressive: 0xca,
} as const;
export type JpegKind = keyof typeof FRAME;
/** Adobe's marker: four components are inks. */
const INKS = Buffer.from('41646f62650064000000000000', 'hex').subarray(0, 12);
/**
 * A code of one bit for "the longest run of empty blocks", whose length fourteen more bits give.
 */
const LONGEST_RUN = 0xe0;
const RUN_BLOCKS = 32_767;

export function segment(marker: number, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4 + data.length);
  bytes.writeUInt16BE(0xff00 | marker, 0);
  bytes.writeUInt16BE(2 + data.length, 2);
  bytes.set(data, 4);
  return bytes;
}

/** A table of one code, which is one bit long. */
const huffmanTable = (ac: boolean, symbol: number): Buffer =>
  segment(0xc4, Buffer.from([ac ? 0x10 : 0, 1, ...new Array<number>(15).fill(0), symbol]));

const quantization = segment(0xdb, Buffer.concat([Buffer.of(0), Buffer.alloc(64, 1)]));

export function frame(
  kind: JpegKind,
  width: number,
  height: number,
  sampling: readonly number[],
): Buffer {
  const head = Buffer.alloc(6);
  head[0] = 8;
  head.writeUInt16BE(height, 1);
  head.writeUInt16BE(width, 3);
  head[5] = sampling.length;
  return segment(
    FRAME[kind],
    Buffer.from([...head, ...sampling.flatMap((packed, at) => [at + 1, packed, 0])]),
  );
}

/**
 * Components from 1 on; `band`: the first and last coefficient; `precision`: Ah and Al in one byte.
 */
export function scan(
  components: readonly number[],
  band: readonly [number, number],
  precision: number,
): Buffer {
  const listed = components.flatMap((component) => [component, 0]);
  return segment(0xda, Buffer.from([components.length, ...listed, ...band, precision]));
}

export function jpegOf(...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([SOI, ...parts, EOI]);
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1);

/** Bits as entropy-coded data: filled up with ones, zeros stuffed behind 0xff. */
function coded(bits: string): Buffer {
  const bytes = (bits.match(/.{1,8}/g) ?? []).map((byte) =>
    Number.parseInt(byte.padEnd(8, '1'), 2),
  );
  return Buffer.from(bytes.flatMap((byte) => (byte === 0xff ? [byte, 0] : [byte])));
}

const blocksOf = (width: number, height: number): number =>
  Math.ceil(width / 8) * Math.ceil(height / 8);

/** A scan's data for "nothing in any block", with which libjpeg goes through all of them. */
const emptyBlocks = (width: number, height: number): Buffer =>
  coded(`0${'1'.repeat(14)}`.repeat(Math.ceil(blocksOf(width, height) / RUN_BLOCKS)));

/**
 * Data that send the arithmetic decoder through all coefficients of each block; found by trying.
 */
const DENSE = Buffer.from(
  '4bc60000000000016874004eea00000000b56a5d800000000dfda10000000002b96f30929de6099a37e73a6eb7ba79e87dcd314d973832e8bea0',
  'hex',
);
const REFINED = Buffer.from('4bc6000000000002d0e8', 'hex');

/**
 * A progressive file in arithmetic coding, a bit of all coefficients of one ink a scan: 45 of them,
 * valid, in some bytes each.
 */
export function arithmeticScans(width: number, height: number): Buffer {
  const inks = upTo(4);
  const conditioning = segment(0xcc, Buffer.of(0x10, 5));
  const more = Array.from({ length: 11 }, (_, step) => {
    const bit = 10 - step;
    const precision = step === 0 ? bit : ((bit + 1) << 4) | bit;
    return inks.flatMap((ink) => [
      conditioning,
      scan([ink], [1, 63], precision),
      step === 0 ? DENSE : REFINED,
    ]);
  }).flat();
  const head = [
    segment(0xee, INKS),
    quantization,
    frame('arithmeticProgressive', width, height, [17, 17, 17, 17]),
  ];
  return jpegOf(...head, scan(inks, [0, 0], 0), Buffer.from('d2c0f5ec290095fb', 'hex'), ...more);
}

/** One scan of arithmetic coding with hardly any data. */
export function arithmeticScan(width: number, height: number): Buffer {
  const head = [
    segment(0xee, INKS),
    quantization,
    frame('arithmetic', width, height, [17, 17, 17, 17]),
  ];
  return jpegOf(...head, scan(upTo(4), [0, 63], 0), DENSE);
}

/** One scan of Huffman codes and no data at all, which libjpeg only warns about. */
export function emptyScan(width: number, height: number): Buffer {
  const tables = [quantization, huffmanTable(false, 0), huffmanTable(true, 0)];
  return jpegOf(
    segment(0xee, INKS),
    ...tables,
    frame('baseline', width, height, [17, 17, 17, 17]),
    scan(upTo(4), [0, 63], 0),
  );
}

/**
 * A progressive file that refines its coefficients by a bit a scan, band by band: valid to the last
 * byte, with any number of scans (883 at most with bands of one coefficient).
 */
export function huffmanScans(width: number, height: number, scans: number): Buffer {
  const data = emptyBlocks(width, height);
  const more = Array.from({ length: scans - 1 }, (_, at) => {
    const [coefficient, bit] = [1 + Math.floor(at / 14), 13 - (at % 14)];
    return [scan([1], [coefficient, coefficient], bit === 13 ? bit : ((bit + 1) << 4) | bit), data];
  }).flat();
  const tables = [quantization, huffmanTable(false, 0), huffmanTable(true, LONGEST_RUN)];
  const first = [scan([1], [0, 0], 0), Buffer.alloc(Math.ceil(blocksOf(width, height) / 8))];
  return jpegOf(...tables, frame('progressive', width, height, [0x11]), ...first, ...more);
}

/**
 * The same with three components and whole bands: like an ordinary progressive file, in any number
 * of scans.
 */
export function honestScans(width: number, height: number, scans: number): Buffer {
  const components = upTo(3);
  const data = emptyBlocks(width, height);
  const more = Array.from({ length: scans - 1 }, (_, at) => {
    const [component, bit] = [1 + (at % 3), 4 - Math.floor(at / 3)];
    return [scan([component], [1, 63], bit === 4 ? bit : ((bit + 1) << 4) | bit), data];
  }).flat();
  const tables = [quantization, huffmanTable(false, 0), huffmanTable(true, LONGEST_RUN)];
  const first = [
    scan(components, [0, 0], 0),
    Buffer.alloc(Math.ceil((3 * blocksOf(width, height)) / 8)),
  ];
  return jpegOf(
    ...tables,
    frame('progressive', width, height, [0x11, 0x11, 0x11]),
    ...first,
    ...more,
  );
}

/** Any of these, in any mixture. `pixels`: the largest picture. */
export function costlyJpeg(random: Random, pixels: number): Buffer {
  const width = oneOf([Math.floor(Math.sqrt(pixels)), 1 + random(65_500), 64], random);
  const height = Math.max(1, Math.min(65_500, Math.floor(pixels / width)));
  const kind = oneOf(Object.keys(FRAME) as JpegKind[], random);
  const components = oneOf([1, 3, 4], random);
  const sampling = upTo(components).map(() =>
    oneOf([0x11, 0x11, 0x22, 0x21, 0x12, 0x41, 0x44, 0x31], random),
  );
  const isArithmetic = kind.startsWith('arithmetic');
  const isProgressive = kind.endsWith('rogressive');
  const data = (): Buffer => {
    const blocks = emptyBlocks(width, height);
    const bits = Buffer.alloc(
      Math.min(1_000_000, Math.ceil(blocksOf(width, height) / (1 + random(8)))),
      random(2) * 0x55,
    );
    const few = randomBytes(random(40), random).map((byte) => (byte === 0xff ? 0 : byte));
    return oneOf([blocks, bits, Buffer.from(few), Buffer.alloc(0)], random);
  };
  const between = (): Buffer => {
    const restart = segment(0xdd, Buffer.of(random(2) * random(256), random(256)));
    const conditioning = segment(0xcc, Buffer.of(0x10, 1 + random(63)));
    const table = huffmanTable(
      random(2) === 0,
      oneOf([0, LONGEST_RUN, 0xf0, 1, random(256)], random),
    );
    const comments = Buffer.concat(
      new Array<Buffer>(random(600)).fill(
        segment(oneOf([0xfe, 0xe1, 0xe2], random), Buffer.alloc(random(8))),
      ),
    );
    return oneOf(
      [
        isArithmetic ? conditioning : table,
        restart,
        comments,
        quantization,
        Buffer.alloc(0),
        Buffer.alloc(0),
      ],
      random,
    );
  };
  const count = 1 + random(oneOf([3, 20, 100, 300], random));
  const scans = Array.from({ length: count }, (_, at) => {
    const all = random(4) === 0 || (at === 0 && isProgressive);
    const listed = all
      ? upTo(components)
      : [1 + (random(8) === 0 ? random(components) : at % components)];
    const bit = Math.max(0, 13 - Math.floor(at / components));
    const precision = bit === 13 || random(5) === 0 ? bit : ((bit + 1) << 4) | bit;
    const band: readonly [number, number] = !isProgressive
      ? [0, 63]
      : all
        ? [0, 0]
        : [1, oneOf([1, 63, 63], random)];
    return [
      random(6) === 0 ? between() : Buffer.alloc(0),
      scan(listed, band, isProgressive ? precision : 0),
      data(),
    ];
  }).flat();
  const tables = [
    huffmanTable(false, 0),
    huffmanTable(true, oneOf([0, LONGEST_RUN, 0xf0], random)),
  ];
  return jpegOf(
    segment(0xee, INKS),
    quantization,
    ...(isArithmetic ? [] : tables),
    frame(kind, width, height, sampling),
    ...scans,
  );
}
