/** Constants of every type and place, and the formats of 16 bits. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SetupError } from '#vitserve/errors.js';
import {
  bfloat16ToNumber,
  float16ToNumber,
  narrowToFloat16,
  numberToBfloat16,
  numberToFloat16,
  widenBfloat16,
  widenFloat16,
} from '#vitserve/onnx/proto/float16.js';
import { DataType, type TensorProto } from '#vitserve/onnx/proto/model-proto.js';
import {
  byteSizeOf,
  checkTensor,
  elementSizeOf,
  float16Tensor,
  float32Tensor,
  floatsOf,
  int8Tensor,
  int64Tensor,
  intsOf,
  rawTensor,
  typeNameOf,
  uint8Tensor,
} from '#vitserve/onnx/proto/tensors.js';

/** A tensor that keeps its values in a list. */
function listed(dataType: number, dims: number[], lists: Partial<TensorProto>): TensorProto {
  const { rawData: _, ...rest } = rawTensor('t', DataType.UINT8, [0], new Uint8Array(0));
  return { ...rest, dims, dataType, ...lists };
}

describe('formats of 16 bits', () => {
  const all = Array.from({ length: 65536 }, (_, bits) => bits);

  test('every binary16 and bfloat16 widens and narrows back to itself', () => {
    for (const bits of all) {
      const half = float16ToNumber(bits);
      if (!Number.isNaN(half)) assert.equal(numberToFloat16(half), bits);
      else assert.equal(numberToFloat16(half) & 0x7e00, 0x7e00);
      const brain = bfloat16ToNumber(bits);
      if (!Number.isNaN(brain)) assert.equal(numberToBfloat16(brain), bits);
      else assert.equal(numberToBfloat16(brain) & 0x7fc0, 0x7fc0);
    }
  });

  test('known values', () => {
    const known: [number, number][] = [
      [1, 0x3c00],
      [-2, 0xc000],
      [65504, 0x7bff],
      [2 ** -24, 1],
      [2 ** -14, 0x400],
      [0.1, 0x2e66],
      [-0, 0x8000],
    ];
    for (const [value, bits] of known) assert.equal(numberToFloat16(value), bits, String(value));
    assert.equal(numberToFloat16(65519.99), 0x7bff);
    assert.equal(numberToFloat16(65520), 0x7c00);
    assert.equal(numberToFloat16(-1e300), 0xfc00);
    assert.equal(numberToFloat16(2 ** -25), 0);
    assert.equal(numberToFloat16(2 ** -25 * 1.0000001), 1);
    assert.equal(numberToBfloat16(1), 0x3f80);
    assert.equal(numberToBfloat16(3.4e38), 0x7f80);
  });

  test('half-way between neighbours the even one is taken, otherwise the nearer', () => {
    const formats = [
      { widen: float16ToNumber, narrow: numberToFloat16, largest: 0x7bfe },
      { widen: bfloat16ToNumber, narrow: numberToBfloat16, largest: 0x7f7e },
    ];
    for (const { widen, narrow, largest } of formats) {
      fc.assert(
        fc.property(fc.nat(largest), (bits) => {
          const [low, high] = [widen(bits), widen(bits + 1)];
          const middle = (low + high) / 2;
          const nudge = (high - low) * 2 ** -30;
          assert.equal(narrow(middle), bits % 2 === 0 ? bits : bits + 1);
          // Nearer to the middle than float32 can express: rounding twice would get these wrong.
          assert.equal(narrow(middle - nudge), bits);
          assert.equal(narrow(middle + nudge), bits + 1);
          assert.equal(narrow(-middle - nudge), (bits + 1) | 0x8000);
        }),
      );
    }
  });

  test('many at once are the same as one by one', () => {
    const bytes = new Uint8Array(Uint16Array.from(all).buffer);
    // Numbers, not bytes: a NaN may have any payload.
    assert.deepEqual([...widenFloat16(bytes)], all.map(float16ToNumber));
    assert.deepEqual([...widenBfloat16(bytes)], all.map(bfloat16ToNumber));
    assert.deepEqual([...narrowToFloat16([1, -2])], [0x00, 0x3c, 0x00, 0xc0]);
  });
});

describe('values', () => {
  test('of floating-point tensors, from bytes and from lists', () => {
    const expected = Float32Array.of(1, -2.5, 0.125);
    const brain = Uint16Array.from(expected, numberToBfloat16);
    const half = [...Uint16Array.from(expected, numberToFloat16)];
    const tensors = [
      float32Tensor('t', [3], expected),
      float16Tensor('t', [3], expected),
      rawTensor('t', DataType.BFLOAT16, [3], new Uint8Array(brain.buffer)),
      rawTensor('t', DataType.DOUBLE, [3], new Uint8Array(Float64Array.from(expected).buffer)),
      listed(DataType.FLOAT, [3], { floatData: [...expected] }),
      listed(DataType.DOUBLE, [3], { doubleData: [...expected] }),
      listed(DataType.FLOAT16, [3], { int32Data: half }),
      listed(DataType.BFLOAT16, [3], { int32Data: [...brain] }),
    ];
    for (const tensor of tensors) {
      assert.deepEqual(floatsOf(tensor), expected);
      checkTensor(tensor);
    }
  });

  test('of integer tensors, from bytes and from lists', () => {
    assert.deepEqual(intsOf(int64Tensor('t', [2], [-1, 2 ** 40])), [-1, 2 ** 40]);
    assert.deepEqual(intsOf(int8Tensor('t', [2], [-128, 127])), [-128, 127]);
    assert.deepEqual(intsOf(uint8Tensor('t', [2], [0, 255])), [0, 255]);
    const raw: [number, ArrayBufferView][] = [
      [DataType.INT16, Int16Array.of(-3, 4)],
      [DataType.UINT16, Uint16Array.of(3, 65535)],
      [DataType.INT32, Int32Array.of(-3, 4)],
      [DataType.UINT32, Uint32Array.of(3, 2 ** 32 - 1)],
    ];
    for (const [type, values] of raw) {
      const tensor = rawTensor('t', type, [2], new Uint8Array(values.buffer));
      assert.deepEqual(intsOf(tensor), [...(values as Int32Array)]);
    }
    assert.deepEqual(intsOf(listed(DataType.INT64, [2], { int64Data: [-1, 7] })), [-1, 7]);
    assert.deepEqual(intsOf(listed(DataType.UINT32, [1], { uint64Data: [7] })), [7]);
    assert.deepEqual(intsOf(listed(DataType.BOOL, [2], { int32Data: [0, 1] })), [0, 1]);
  });

  test('"to the end", 2^63 - 1, is the largest safe integer', () => {
    const bytes = new Uint8Array(BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n)).buffer);
    const limits = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
    assert.deepEqual(intsOf(rawTensor('t', DataType.INT64, [2], bytes)), limits);
    assert.deepEqual(intsOf(listed(DataType.INT64, [1], { int64Data: [2n ** 63n - 1n] })), [
      limits[0],
    ]);
  });

  test('that are aligned float32 are a view, others a copy', () => {
    const memory = new Uint8Array(17);
    const aligned = rawTensor('t', DataType.FLOAT, [2], memory.subarray(4, 12));
    assert.equal(floatsOf(aligned).buffer, memory.buffer);
    const odd = rawTensor('t', DataType.FLOAT, [2], memory.subarray(5, 13));
    assert.deepEqual(floatsOf(odd), Float32Array.of(0, 0));
  });

  test('sizes and names of types', () => {
    assert.equal(byteSizeOf(float16Tensor('t', [2, 3], [1, 2, 3, 4, 5, 6])), 12);
    assert.equal(byteSizeOf(listed(22, [3], {})), 2);
    assert.equal(byteSizeOf(listed(DataType.FLOAT, [], { floatData: [1] })), 4);
    assert.deepEqual(
      [elementSizeOf(DataType.INT64), elementSizeOf(DataType.STRING), elementSizeOf(99)],
      [8, undefined, undefined],
    );
    assert.deepEqual([DataType.FLOAT, DataType.BFLOAT16, 99].map(typeNameOf), [
      'float32',
      'bfloat16',
      'type 99',
    ]);
  });
});

describe('that do not fit are rejected by name', () => {
  const refused: [what: string, read: () => unknown, message: string][] = [
    [
      'too few bytes',
      () => floatsOf({ ...float32Tensor('w', [2], [1, 2]), dims: [3] }),
      'tensor "w" has 8 bytes, and float32 [3] takes 12',
    ],
    [
      'too few listed',
      () => floatsOf(listed(DataType.FLOAT, [2, 2], { floatData: [1] })),
      'tensor "t" has 1 values; its dims [2,2] take 4',
    ],
    [
      'a wrong type',
      () => floatsOf(int64Tensor('w', [1], [1])),
      'tensor "w" is int64 where floating-point numbers are needed',
    ],
    [
      'floats for integers',
      () => intsOf(float32Tensor('w', [1], [1])),
      'tensor "w" is float32 where whole numbers are needed',
    ],
    [
      'values elsewhere',
      () =>
        floatsOf(listed(DataType.FLOAT, [1], { externalData: [{ key: 'location', value: 'f' }] })),
      'tensor "t" has its values in another file, which was not read',
    ],
    [
      'negative dims',
      () => checkTensor(listed(DataType.FLOAT, [-1], {})),
      'tensor "t" has dims [-1], which no constant can have',
    ],
    [
      'dims beyond all memory',
      () => checkTensor(listed(DataType.INT8, [2 ** 40, 2 ** 40], {})),
      'tensor "t" has dims [1099511627776,1099511627776], which no constant can have',
    ],
    [
      'an unknown type',
      () => byteSizeOf(listed(99, [1], {})),
      'tensor "t" has element type 99, which is not supported',
    ],
    [
      'bytes at making',
      () => rawTensor('w', DataType.FLOAT, [2], new Uint8Array(7)),
      'tensor "w" has 7 bytes, and float32 [2] takes 8',
    ],
  ];
  for (const [what, read, message] of refused) {
    test(what, () => {
      assert.throws(read, (error) => error instanceof SetupError && error.message === message);
    });
  }
});
