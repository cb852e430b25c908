/** Which JPEG files are ordinary, told by their segments alone. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readOrdinaryJpeg } from '#vitserve/workers/decode/jpeg-structure.js';

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

/** An EXIF segment with an orientation, which does not matter for the structure. */
const EXIF = segment(
  0xe1,
  ...ascii('Exif\0\0II*\0'),
  ...Buffer.from('08000000010012010300010000000600000000000000', 'hex'),
);

const read = (...parts: Buffer[]) => readOrdinaryJpeg(Buffer.concat([START, ...parts]));
const SIZE = { width: 300, height: 200 };

describe('ordinary', () => {
  test('baseline, extended and progressive, in colour and grey', () => {
    for (const marker of [0xc0, 0xc1, 0xc2]) assert.deepEqual(read(frame(marker), SCAN), SIZE);
    assert.deepEqual(read(frame(0xc0, { components: 1 }), SCAN), SIZE);
  });

  test('tables, application data, comments and fill bytes are skipped', () => {
    const passed = [0xc4, 0xdb, 0xdd, 0xe0, 0xe1, 0xe2, 0xee, 0xef, 0xfe].map((marker) =>
      segment(marker, 1, 2, 3),
    );
    assert.deepEqual(read(...passed, Buffer.alloc(3, 0xff), frame(), ...passed, SCAN), SIZE);
  });

  test('whatever its EXIF says, or however broken it is', () => {
    const broken = segment(0xe1, ...ascii('Exif\0\0XX*\0'));
    for (const parts of [[EXIF], [EXIF, EXIF], [broken]])
      assert.deepEqual(read(...parts, frame(), SCAN), SIZE);
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
  };
  for (const [name, parts] of Object.entries(cases)) {
    test(name, () => assert.equal(read(...parts), null));
  }

  test('an ordinary file that ends anywhere before its image data, without an exception', () => {
    const whole = Buffer.concat([START, EXIF, segment(0xdb, 0, 1), frame(), SCAN]);
    assert.notEqual(readOrdinaryJpeg(whole), null);
    for (let end = 2; end < whole.length; end++)
      assert.equal(readOrdinaryJpeg(whole.subarray(0, end)), null);
  });
});
