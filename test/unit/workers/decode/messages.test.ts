/** Messages between the front and a decoder arrive unchanged. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { describeReason, REASONS, type Reason } from '#vitserve/errors.js';
import {
  type DecodedImage,
  type DecoderCall,
  decodeCall,
  decodeReply,
  encodeCall,
  encodeReply,
} from '#vitserve/workers/decode/messages.js';
import type { WorkResult } from '#vitserve/workers/worker.js';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const calls: fc.Arbitrary<DecoderCall> = fc.record(
  { slot: u32, bytes: u32, plan: fc.oneof(fc.json(), fc.string({ unit: 'grapheme' })) },
  { noNullPrototype: true },
);

const REASONS_OF_DECODERS = (Object.keys(REASONS) as Reason[]).filter(
  (reason) => reason === 'INTERNAL' || describeReason(reason).field === 'image',
);

const replies: fc.Arbitrary<WorkResult<DecodedImage>> = fc.oneof(
  fc.record({
    kind: fc.constant('done' as const),
    output: fc.record(
      {
        decodeMs: fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }),
        width: u32,
        height: u32,
        format: fc.constantFrom('jpeg' as const, 'png' as const, 'webp' as const),
        decoder: fc.constantFrom('turbojpeg' as const, 'sharp' as const),
      },
      { noNullPrototype: true },
    ),
  }),
  fc.record({
    kind: fc.constant('rejected' as const),
    reason: fc.constantFrom(...REASONS_OF_DECODERS),
    message: fc.string({ unit: 'grapheme' }),
  }),
  fc.constant({ kind: 'skipped' as const }),
);

describe('decoder messages', () => {
  test('a call arrives as it was sent', () => {
    fc.assert(
      fc.property(calls, (call) => {
        assert.deepEqual(decodeCall(encodeCall(call)), call);
      }),
    );
  });

  test('a reply arrives as it was sent', () => {
    fc.assert(
      fc.property(replies, (reply) => {
        assert.deepEqual({ ...decodeReply(encodeReply(reply)) }, { ...reply });
      }),
    );
  });

  test('a reply of unknown kind is an error', () => {
    assert.throws(() => decodeReply(Buffer.of(9)), /^Error: a decoder reply of unknown kind$/);
  });

  describe('of a compromised decoder are errors:', () => {
    const decoded = encodeReply({
      kind: 'done',
      output: { decodeMs: 1, width: 2, height: 3, format: 'png', decoder: 'sharp' },
    });
    const changed = (change: (bytes: Buffer) => void) => {
      const bytes = Buffer.from(decoded);
      change(bytes);
      return bytes;
    };
    const rejected = (rejection: unknown) =>
      Buffer.concat([Buffer.of(2), Buffer.from(JSON.stringify(rejection))]);
    for (const [what, bytes] of Object.entries({
      'an invalid time': changed((bytes) => bytes.writeDoubleLE(Number.NaN, 1)),
      'a time that never ends': changed((bytes) =>
        bytes.writeDoubleLE(Number.POSITIVE_INFINITY, 1),
      ),
      'a time before it began': changed((bytes) => bytes.writeDoubleLE(-1, 1)),
      'a format that there is not': changed((bytes) => bytes.writeUInt8(7, 17)),
      'a decoder that there is not': changed((bytes) => bytes.writeUInt8(7, 18)),
      'half of a reply': decoded.subarray(0, 10),
      'no bytes': Buffer.alloc(0),
      'an unknown reason': rejected({ reason: 'CURSED', message: 'no' }),
      'a reason that decoders may not give': rejected({ reason: 'TOKEN_INVALID', message: 'no' }),
      'a name that every object has': rejected({ reason: 'toString', message: 'no' }),
      'an invalid message': rejected({ reason: 'INTERNAL', message: { text: 'no' } }),
      'no rejection at all': rejected(null),
      'a rejection that is not JSON': Buffer.from('\u0002{'),
    })) {
      test(what, () => assert.throws(() => decodeReply(bytes)));
    }
  });
});
