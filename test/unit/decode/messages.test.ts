/** What the front and a decoder say to each other arrives as it was said. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  type DecoderCall,
  type DecoderReply,
  decodeCall,
  decodeReply,
  encodeCall,
  encodeReply,
} from '#vitserve/decode/messages.js';
import { REASONS, type Reason } from '#vitserve/errors.js';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const calls: fc.Arbitrary<DecoderCall> = fc.oneof(
  fc.record(
    {
      kind: fc.constant('decode' as const),
      slot: u32,
      inbox: u32,
      bytes: u32,
      plan: fc.oneof(fc.json(), fc.string({ unit: 'grapheme' })),
    },
    { noNullPrototype: true },
  ),
  fc.record({ kind: fc.constant('draw' as const), width: u32, height: u32 }, { noNullPrototype: true }),
);

const replies: fc.Arbitrary<DecoderReply> = fc.oneof(
  fc.record({
    kind: fc.constant('decoded' as const),
    decodeMs: fc.double({ noNaN: true, min: 0 }),
    width: u32,
    height: u32,
    format: fc.constantFrom('jpeg' as const, 'png' as const, 'webp' as const),
    decoder: fc.constantFrom('turbojpeg' as const, 'sharp' as const),
  }),
  fc.record({
    kind: fc.constant('refused' as const),
    reason: fc.constantFrom(...(Object.keys(REASONS) as Reason[])),
    message: fc.string({ unit: 'grapheme' }),
  }),
  fc.constant({ kind: 'skipped' as const }),
  fc.record({ kind: fc.constant('drawn' as const), jpeg: fc.uint8Array().map((bytes) => Buffer.from(bytes)) }),
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

  test('a drawn picture does not hold on to the buffer that it arrived in', () => {
    const bytes = encodeReply({ kind: 'drawn', jpeg: Buffer.from('picture') });
    const reply = decodeReply(bytes);
    bytes.fill(0);
    assert.ok(reply.kind === 'drawn');
    assert.equal(reply.jpeg.toString(), 'picture');
  });

  test('a reply of no known kind is an error', () => {
    assert.throws(() => decodeReply(Buffer.of(9)), /^Error: a decoder reply of no known kind$/);
  });
});
