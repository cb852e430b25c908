/** Which JPEG files are ordinary, told by their segments alone. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readOrdinaryJpeg } from '#vitserve/decode/jpeg-structure.js';

const START = Buffer.of(0xff, 0xd8);

function segment(marker: number, ...content: number[]): Buffer {
  const length = content.length + 2;
  return Buffer.of(0xff, marker, length >> 8, length & 255, ...content);
}

/** 300 × 200 pixels. */
const frame = (marker = 0xc0, { precision = 8, components = 3 } = {}) =>
  segment(marker, precision, 0, 200, 1, 44, components, ...Array(components * 3).fill(0x11));
const SCAN = segment(0xda, 1, 1, 0, 0, 63, 0);
const ascii = (text: string) => [...Buffer.from(text, 'latin1')];

interface Entry {
  readonly tag?: number;
  readonly type?: number;
  readonly count?: number;
  readonly value: number;
}

/** An EXIF segment with these entries in its first directory. */
function exif(entries: readonly Entry[], order: 'II' | 'MM' = 'II', { directory = 8, claimed = entries.length } = {}) {
  const tiff = Buffer.alloc(8 + 2 + entries.length * 12 + 4);
  const write16 = (value: number, at: number) =>
    order === 'II' ? tiff.writeUInt16LE(value, at) : tiff.writeUInt16BE(value, at);
  const write32 = (value: number, at: number) =>
    order === 'II' ? tiff.writeUInt32LE(value, at) : tiff.writeUInt32BE(value, at);
  tiff.write(order, 'latin1');
  write16(42, 2);
  write32(directory, 4);
  write16(claimed, 8);
  for (const [index, { tag = 0x0112, type = 3, count = 1, value }] of entries.entries()) {
    const at = 10 + index * 12;
    write16(tag, at);
    write16(type, at + 2);
    write32(count, at + 4);
    write16(value, at + 8);
  }
  return segment(0xe1, ...ascii('Exif\0\0'), ...tiff);
}

const read = (...parts: Buffer[]) => readOrdinaryJpeg(Buffer.concat([START, ...parts]));
const SIZE = { width: 300, height: 200 };

describe('ordinary', () => {
  test('baseline, extended and progressive, in colour and grey', () => {
    for (const marker of [0xc0, 0xc1, 0xc2]) assert.deepEqual(read(frame(marker), SCAN), { ...SIZE, orientation: 1 });
    assert.deepEqual(read(frame(0xc0, { components: 1 }), SCAN), { ...SIZE, orientation: 1 });
  });

  test('tables, application data, comments and fill bytes are passed over', () => {
    const passed = [0xc4, 0xdb, 0xdd, 0xe0, 0xe1, 0xe2, 0xee, 0xef, 0xfe].map((marker) => segment(marker, 1, 2, 3));
    assert.deepEqual(read(...passed, Buffer.alloc(3, 0xff), frame(), ...passed, SCAN), { ...SIZE, orientation: 1 });
  });

  test('every orientation, in both byte orders, behind and before other entries', () => {
    for (const order of ['II', 'MM'] as const) {
      for (let value = 1; value <= 8; value++) {
        const other = { tag: 0x0100, value: 7 };
        const found = read(exif([other, { value }, other], order), frame(), SCAN);
        assert.deepEqual(found, { ...SIZE, orientation: value });
      }
    }
  });

  test('EXIF without an orientation is upright', () => {
    assert.equal(read(exif([]), frame(), SCAN)?.orientation, 1);
    assert.equal(read(exif([{ tag: 0x0100, value: 6 }]), frame(), SCAN)?.orientation, 1);
  });
});

describe('odd', () => {
  const cases: Readonly<Record<string, readonly Buffer[]>> = {
    'four components': [frame(0xc0, { components: 4 }), SCAN],
    'two components': [frame(0xc0, { components: 2 }), SCAN],
    '12 bits': [frame(0xc1, { precision: 12 }), SCAN],
    lossless: [frame(0xc3), SCAN],
    hierarchical: [frame(0xc5), SCAN],
    'arithmetic coding': [frame(0xc9), SCAN],
    'arithmetic conditioning': [segment(0xcc, 0, 0), frame(), SCAN],
    'height in a later segment': [segment(0xc0, 8, 0, 0, 1, 44, 1, 1, 0x11, 0), SCAN],
    'no width': [segment(0xc0, 8, 1, 44, 0, 0, 1, 1, 0x11, 0), SCAN],
    'two frames': [frame(), frame(), SCAN],
    'a short frame': [segment(0xc0, 8, 0, 200, 1), SCAN],
    'no frame': [SCAN],
    'no scan': [frame()],
    'nothing at all': [],
    'a stray byte': [Buffer.of(0), frame(), SCAN],
    'an end before the scan': [frame(), Buffer.of(0xff, 0xd9), SCAN],
    'a restart marker before the scan': [frame(), Buffer.of(0xff, 0xd0), SCAN],
    'a second start': [START, frame(), SCAN],
    'a segment without room for its length': [Buffer.of(0xff, 0xe0, 0, 1), frame(), SCAN],
    'a segment that passes the end': [frame(), Buffer.of(0xff, 0xe0, 0xff, 0xff, 1, 2, 3)],
    'two EXIF segments': [exif([{ value: 6 }]), exif([{ value: 6 }]), frame(), SCAN],
    'two orientations': [exif([{ value: 6 }, { value: 6 }]), frame(), SCAN],
    'orientation 0': [exif([{ value: 0 }]), frame(), SCAN],
    'orientation 9': [exif([{ value: 9 }]), frame(), SCAN],
    'an orientation that is no short': [exif([{ type: 4, value: 6 }]), frame(), SCAN],
    'several orientation values': [exif([{ count: 2, value: 6 }]), frame(), SCAN],
    'a directory outside its segment': [exif([{ value: 6 }], 'II', { directory: 500 }), frame(), SCAN],
    'a directory at the end of its segment': [exif([{ value: 6 }], 'II', { directory: 25 }), frame(), SCAN],
    'a directory longer than its segment': [exif([{ value: 6 }], 'II', { claimed: 9 }), frame(), SCAN],
    'EXIF without a byte order': [segment(0xe1, ...ascii('Exif\0\0XX*\0\x08\0\0\0\0\0')), frame(), SCAN],
    'empty EXIF': [segment(0xe1, ...ascii('Exif\0\0')), frame(), SCAN],
  };
  for (const [name, parts] of Object.entries(cases)) {
    test(name, () => assert.equal(read(...parts), null));
  }

  test('an ordinary file that ends anywhere before its image data, and never an exception', () => {
    const whole = Buffer.concat([START, exif([{ value: 6 }], 'MM'), segment(0xdb, 0, 1), frame(), SCAN]);
    assert.notEqual(readOrdinaryJpeg(whole), null);
    for (let end = 2; end < whole.length; end++) assert.equal(readOrdinaryJpeg(whole.subarray(0, end)), null);
  });
});
