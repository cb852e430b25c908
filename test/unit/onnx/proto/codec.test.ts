/** The codec against itself, against protobufjs, and against bytes that are not a model. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  float,
  graphOf,
  int,
  ints,
  modelOf,
  nodeOf,
  valueInfoOf,
} from '#vitserve/onnx/graph/build.js';
import {
  decodeModel,
  encodedSizeOf,
  encodeModel,
  encodeModelChunks,
} from '#vitserve/onnx/proto/codec.js';
import type {
  AttributeProto,
  GraphProto,
  ModelProto,
  NodeProto,
  TensorProto,
} from '#vitserve/onnx/proto/model-proto.js';
import { float32Tensor } from '#vitserve/onnx/proto/tensors.js';
import { OnnxFormatError } from '#vitserve/onnx/proto/wire.js';
import { modelType, plainModel } from '../onnx-schema.js';

const DEFAULT_MODEL = readFileSync(
  new URL('../../../../models/vit-cifar10/1/model.onnx', import.meta.url),
);

const text = fc.string({ unit: 'binary' });
const bytes = fc.uint8Array({ maxLength: 20 });
const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const size = fc.maxSafeNat();
/** 64-bit numbers as the codec gives them: bigint only if a number is not safe. */
const long = (from: bigint, to: bigint) =>
  fc.bigInt(from, to).map((value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value));
const int64 = fc.oneof(long(-(2n ** 63n), 2n ** 63n - 1n), fc.maxSafeInteger());
const entries = fc.array(fc.record({ key: text, value: text }), { maxLength: 2 });
/** Field 1000: a varint, and one of bytes. */
const unknown = fc.constantFrom(Uint8Array.of(0xc0, 0x3e, 7), Uint8Array.of(0xc2, 0x3e, 2, 1, 2));
const withUnknown = <Value>(of: fc.Arbitrary<Value>): fc.Arbitrary<Value> =>
  fc
    .tuple(of, fc.array(unknown, { maxLength: 2 }))
    .map(([value, fields]) => (fields.length === 0 ? value : { ...value, unknown: fields }));

const tensor: fc.Arbitrary<TensorProto> = withUnknown(
  fc.record(
    {
      dims: fc.array(fc.oneof(fc.nat(9), fc.maxSafeInteger()), { maxLength: 3 }),
      dataType: int32,
      name: text,
      docString: text,
      rawData: bytes,
      floatData: fc.array(fc.float(), { maxLength: 3 }),
      int32Data: fc.array(int32, { maxLength: 3 }),
      int64Data: fc.array(int64, { maxLength: 3 }),
      stringData: fc.array(bytes, { maxLength: 2 }),
      doubleData: fc.array(fc.double(), { maxLength: 3 }),
      uint64Data: fc.array(long(0n, 2n ** 64n - 1n), { maxLength: 3 }),
      externalData: entries,
      dataLocation: fc.nat(1),
    },
    {
      requiredKeys: [
        'dims',
        'dataType',
        'name',
        'docString',
        'floatData',
        'int32Data',
        'int64Data',
        'stringData',
        'doubleData',
        'uint64Data',
        'externalData',
        'dataLocation',
      ],
    },
  ),
);

const valueInfo = fc.record({
  name: text,
  docString: text,
  type: fc.record({
    denotation: text,
    tensorType: fc.record({
      elemType: int32,
      shape: fc.record({
        dim: fc.array(
          fc.oneof(
            fc.record({ dimValue: size, denotation: text }),
            fc.record({ dimParam: text, denotation: text }),
            fc.record({ denotation: text }),
          ),
          { maxLength: 4 },
        ),
      }),
    }),
  }),
});

const { graph } = fc.letrec<{ graph: GraphProto; node: NodeProto; attribute: AttributeProto }>(
  (tie) => ({
    graph: withUnknown(
      fc.record({
        node: fc.array(tie('node'), { maxLength: 2 }),
        name: text,
        initializer: fc.array(tensor, { maxLength: 2 }),
        docString: text,
        input: fc.array(valueInfo, { maxLength: 2 }),
        output: fc.array(valueInfo, { maxLength: 2 }),
        valueInfo: fc.array(valueInfo, { maxLength: 1 }),
        metadataProps: entries,
      }),
    ),
    node: withUnknown(
      fc.record({
        input: fc.array(text, { maxLength: 3 }),
        output: fc.array(text, { maxLength: 2 }),
        name: text,
        opType: text,
        domain: text,
        attribute: fc.array(tie('attribute'), { maxLength: 2 }),
        docString: text,
        metadataProps: entries,
      }),
    ),
    attribute: fc.record(
      {
        name: text,
        docString: text,
        type: int32,
        f: fc.float(),
        i: int64,
        s: bytes,
        t: tensor,
        g: fc.option(tie('graph'), { nil: graphOf('', {}), maxDepth: 2 }),
        floats: fc.array(fc.float(), { maxLength: 3 }),
        ints: fc.array(int64, { maxLength: 3 }),
        strings: fc.array(bytes, { maxLength: 2 }),
      },
      { requiredKeys: ['name', 'docString', 'type', 'floats', 'ints', 'strings'] },
    ),
  }),
);

const model: fc.Arbitrary<ModelProto> = withUnknown(
  fc.record({
    irVersion: size,
    producerName: text,
    producerVersion: text,
    domain: text,
    modelVersion: size,
    docString: text,
    graph,
    opsetImport: fc.array(fc.record({ domain: text, version: size }), { maxLength: 2 }),
    metadataProps: entries,
  }),
);

describe('what is written can be read', () => {
  test('any model comes back unchanged, in as many bytes as announced', () => {
    fc.assert(
      fc.property(model, (given) => {
        const written = encodeModel(given);
        assert.equal(written.length, encodedSizeOf(given));
        // A clone, since the records of fast-check have no prototype.
        assert.deepEqual(decodeModel(written), structuredClone(given));
      }),
      { numRuns: 300 },
    );
  });

  test('integers of 64 bits are exact at their limits, and numbers if safe', () => {
    const values = [
      0,
      -1,
      127,
      128,
      2 ** 53 - 1,
      -(2 ** 53) + 1,
      2n ** 53n,
      2n ** 63n - 1n,
      -(2n ** 63n),
    ];
    const given = modelOf(
      graphOf('g', {
        node: [nodeOf('N', [], ['x'], { attributes: { a: { ...ints([]), ints: values } } })],
      }),
      { opsets: { '': 17 } },
    );
    assert.deepEqual(decodeModel(encodeModel(given)).graph.node[0]?.attribute[0]?.ints, values);
  });

  test('a large tensor is not copied, neither when read nor when written', () => {
    const weights = new Float32Array(100_000);
    const given = modelOf(graphOf('g', { initializer: [float32Tensor('w', [100_000], weights)] }), {
      opsets: { '': 17 },
    });
    assert.ok(
      encodeModelChunks(given).some(
        (chunk) => chunk.buffer === weights.buffer && chunk.length === 400_000,
      ),
    );
    const written = encodeModel(given);
    const rawData = decodeModel(written).graph.initializer[0]?.rawData;
    assert.equal(rawData?.buffer, written.buffer);
    assert.equal(rawData?.length, 400_000);
  });

  test('more than 2 GiB are measured and rejected, without being gathered', () => {
    const half = new Float32Array(2 ** 27);
    const initializer = Array.from({ length: 5 }, (_, at) =>
      float32Tensor(`w${at}`, [2 ** 27], half),
    );
    const given = modelOf(graphOf('g', { initializer }), { opsets: { '': 17 } });
    assert.ok(encodedSizeOf(given) > 5 * 2 ** 29);
    assert.throws(
      () => encodeModel(given),
      /^OnnxFormatError: the model has 26\d{8} bytes, more than the 2147483647 of protobuf$/,
    );
  });
});

describe('compared with protobufjs', () => {
  test('the default model reads the same before and after', () => {
    const again = encodeModel(decodeModel(DEFAULT_MODEL));
    assert.deepEqual(plainModel(again), plainModel(DEFAULT_MODEL));
  });

  test('each reads what the other wrote, for any model', () => {
    fc.assert(
      fc.property(model, (given) => {
        const written = encodeModel(given);
        const type = modelType(true);
        const theirs = type.encode(type.decode(written)).finish();
        assert.deepEqual(plainModel(theirs), plainModel(encodeModel(decodeModel(theirs))));
        const named = decodeModel(theirs);
        assert.deepEqual(
          named.graph.initializer.map(({ name }) => name),
          given.graph.initializer.map(({ name }) => name),
        );
        assert.equal(named.irVersion, given.irVersion);
      }),
      { numRuns: 100 },
    );
  });

  test('lists of numbers are read packed and one by one', () => {
    const given = {
      graph: {
        initializer: [
          {
            name: 't',
            dims: [2],
            floatData: [1.5, -2],
            int32Data: [-3, 4],
            int64Data: [5, -6],
            doubleData: [0.1],
          },
        ],
        node: [{ opType: 'N', attribute: [{ name: 'a', floats: [0.5], ints: [1, -2] }] }],
      },
    };
    for (const packed of [true, false]) {
      const type = modelType(packed);
      const read = decodeModel(type.encode(type.fromObject(given)).finish()).graph;
      const [found] = read.initializer;
      assert.deepEqual(
        [found?.floatData, found?.int32Data, found?.int64Data, found?.doubleData],
        [[1.5, -2], [-3, 4], [5, -6], [0.1]],
      );
      assert.deepEqual(read.node[0]?.attribute[0]?.floats, [0.5]);
      assert.deepEqual(read.node[0]?.attribute[0]?.ints, [1, -2]);
    }
  });
});

describe('bytes that are not a model', () => {
  const small = encodeModel(
    modelOf(
      graphOf('g', {
        node: [
          nodeOf('Gemm', ['x', 'w'], ['y'], { attributes: { alpha: float(2), transB: int(1) } }),
        ],
        initializer: [float32Tensor('w', [2, 2], [1, 2, 3, 4])],
        input: [valueInfoOf('x', 1, ['batch', 2])],
        output: [valueInfoOf('y', 1, [null, 2])],
      }),
      { opsets: { '': 17 } },
    ),
  );

  test('truncated at any byte, they are rejected, or read as the whole fields before it', () => {
    let refused = 0;
    for (let end = 0; end < small.length; end++) {
      try {
        decodeModel(small.subarray(0, end));
      } catch (error) {
        assert.ok(error instanceof OnnxFormatError, String(error));
        refused++;
      }
    }
    assert.ok(refused > small.length * 0.9, `${refused} of ${small.length}`);
  });

  test('with any byte changed, they are rejected or read, and nothing else happens', () => {
    fc.assert(
      fc.property(fc.nat(small.length - 1), fc.nat(255), (at, byte) => {
        const changed = Uint8Array.from(small);
        changed[at] = byte;
        try {
          decodeModel(changed);
        } catch (error) {
          assert.ok(error instanceof OnnxFormatError, String(error));
        }
      }),
      { numRuns: 2000 },
    );
  });

  const REFUSED: readonly [what: string, given: readonly number[], message: RegExp][] = [
    ['nothing', [], /^it has no graph$/],
    [
      'a length beyond the end',
      [0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f],
      /^truncated at byte 6: 34359738367 bytes are announced, 0 are left$/,
    ],
    ['a number without end', [0x08, 0xff], /^truncated at byte 1: a number without its end$/],
    [
      'a number of eleven bytes',
      [0x08, ...Array(11).fill(0x80)],
      /^malformed at byte 1: a number of more than ten bytes$/,
    ],
    ['field number 0', [0x00, 0x00], /^malformed at byte 0: no such field$/],
    ['a group', [0x9b, 0x01], /^malformed at byte 2: wire type 3$/],
    [
      'a graph that is a number',
      [0x38, 0x01],
      /^malformed: ModelProto.graph at byte 0 has wire type 0 in place of 2$/,
    ],
    [
      'an absurd version',
      [0x08, ...Array(8).fill(0xff), 0x7f],
      /^malformed: ModelProto.irVersion is 9223372036854775807, /,
    ],
    ['text that is not UTF-8', [0x12, 0x01, 0xff], /^malformed at byte 2: text that is not UTF-8$/],
  ];
  for (const [what, given, message] of REFUSED) {
    test(what, () => {
      assert.throws(
        () => decodeModel(Uint8Array.from(given)),
        (error) => error instanceof OnnxFormatError && message.test(error.message),
      );
    });
  }

  test('graphs nested without end are rejected', () => {
    // Attribute of node of graph, nested a thousand times, innermost first.
    let inner: Buffer = Buffer.alloc(0);
    for (let depth = 0; depth < 1000; depth++) {
      for (const tag of [0x32, 0x2a, 0x0a]) {
        const length: number[] = [];
        for (let rest = inner.length; ; rest >>>= 7) {
          length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
          if (rest <= 0x7f) break;
        }
        inner = Buffer.concat([Uint8Array.from([tag, ...length]), inner]);
      }
    }
    const length = [(inner.length & 0x7f) | 0x80, inner.length >> 7];
    assert.ok(inner.length < 2 ** 14);
    assert.throws(
      () => decodeModel(Buffer.concat([Uint8Array.from([0x3a, ...length]), inner])),
      /nested more than 100 deep/,
    );
  });
});
