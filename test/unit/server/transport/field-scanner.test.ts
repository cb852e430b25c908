/**
 * The field is found wherever it is, and however the bytes arrive; what a reader of protobuf
 * finds is the reference.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { FieldScanner } from '#vitserve/server/transport/field-scanner.js';

const MOST_BYTES = 64;

function scan(
  bytes: Uint8Array,
  cuts: readonly number[] = [],
  mostBytes = MOST_BYTES,
): string | null {
  const scanner = new FieldScanner(1, mostBytes);
  let from = 0;
  for (const cut of [...cuts]
    .sort((one, other) => one - other)
    .map((at) => Math.min(at, bytes.length))) {
    scanner.write(bytes.subarray(from, cut));
    from = cut;
  }
  scanner.write(bytes.subarray(from));
  return scanner.value === null ? null : scanner.value.toString();
}

type Field =
  | { readonly kind: 'id'; readonly text: string }
  | { readonly kind: 'bytes'; readonly field: number; readonly bytes: Uint8Array }
  | { readonly kind: 'number'; readonly field: number; readonly value: number }
  | { readonly kind: 'fixed'; readonly field: number; readonly wide: boolean }
  | { readonly kind: 'group'; readonly field: number; readonly inside: string };

const otherField = fc.integer({ min: 2, max: 2 ** 29 - 1 });
const fields: fc.Arbitrary<readonly Field[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant('id' as const),
      text: fc.string({ maxLength: 20, unit: 'grapheme' }),
    }),
    fc.record({
      kind: fc.constant('bytes' as const),
      field: otherField,
      bytes: fc.uint8Array({ maxLength: 300 }),
    }),
    fc.record({
      kind: fc.constant('number' as const),
      field: otherField,
      value: fc.maxSafeInteger(),
    }),
    fc.record({ kind: fc.constant('fixed' as const), field: otherField, wide: fc.boolean() }),
    fc.record({
      kind: fc.constant('group' as const),
      field: otherField,
      inside: fc.string({ maxLength: 5 }),
    }),
  ),
  { maxLength: 8 },
);

function written(message: readonly Field[]): Uint8Array {
  const writer = protobuf.Writer.create();
  for (const field of message) {
    if (field.kind === 'id') writer.uint32((1 << 3) | 2).string(field.text);
    else {
      const tag = (wireType: number) => writer.uint32(((field.field << 3) | wireType) >>> 0);
      if (field.kind === 'bytes') tag(2).bytes(field.bytes);
      else if (field.kind === 'number') tag(0).int64(field.value);
      else if (field.kind === 'fixed') field.wide ? tag(1).fixed64(7) : tag(5).fixed32(7);
      else {
        tag(3)
          .uint32((1 << 3) | 2)
          .string(field.inside);
        tag(4);
      }
    }
  }
  return writer.finish();
}

describe('a field of a message that arrives in chunks', () => {
  test('is found wherever it is, and wherever the bytes are cut; the last one counts', () => {
    fc.assert(
      fc.property(fields, fc.array(fc.nat(2_000), { maxLength: 12 }), (message, cuts) => {
        const texts = message.flatMap((field) => (field.kind === 'id' ? [field.text] : []));
        assert.equal(scan(written(message), cuts, 1_000), texts.at(-1) ?? null);
      }),
      { numRuns: 2_000 },
    );
  });

  test('is found when the bytes come one by one', () => {
    fc.assert(
      fc.property(fields, (message) => {
        const bytes = written(message);
        const everywhere = Array.from(bytes, (_, at) => at);
        assert.equal(scan(bytes, everywhere, 1_000), scan(bytes, [], 1_000));
      }),
      { numRuns: 500 },
    );
  });

  test('never throws and keeps no more than allowed, whatever the bytes are', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.array(fc.nat(200), { maxLength: 6 }),
        (bytes, cuts) => {
          const found = scan(bytes, cuts);
          assert.equal(found, scan(bytes));
          assert(found === null || Buffer.byteLength(found) <= 3 * MOST_BYTES);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('counts as missing where it is longer than allowed, and the rest is still read', () => {
    const long = written([{ kind: 'id', text: 'x'.repeat(MOST_BYTES + 1) }]);
    const short = written([{ kind: 'id', text: 'x'.repeat(MOST_BYTES) }]);
    assert.equal(scan(long), null);
    assert.equal(scan(short), 'x'.repeat(MOST_BYTES));
    assert.equal(scan(Buffer.concat([short, long])), null, 'it was replaced');
    assert.equal(scan(Buffer.concat([long, written([{ kind: 'id', text: 'after' }])])), 'after');
  });

  test('stays when the bytes behind it are malformed', () => {
    const id = written([{ kind: 'id', text: 'id' }]);
    const another = written([{ kind: 'id', text: 'another' }]);
    for (const bytes of [[0x0f], [0x0c], Array(11).fill(0x80)]) {
      assert.equal(scan(Buffer.concat([id, Buffer.from(bytes), another])), 'id');
    }
    assert.equal(scan(Buffer.concat([id, another.subarray(0, 4)])), null, 'cut off within it');
  });
});
