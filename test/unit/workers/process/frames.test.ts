/** Frames over a byte stream that is cut wherever it pleases. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  encodeFrame,
  encodeJsonFrame,
  type Frame,
  FrameParser,
  FrameTag,
  MAX_FRAME_BYTES,
  receiveFrame,
  sendFrame,
} from '#vitserve/workers/process/frames.js';

const frames = fc.array(
  fc.record({
    tag: fc.constantFrom(...Object.values(FrameTag)),
    payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  }),
  { maxLength: 12 },
);

/** Cuts a stream at the given places, taken modulo its length. */
function cut(stream: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...places.map((place) => place % (stream.length + 1)), stream.length].sort(
    (a, b) => a - b,
  );
  return ends.map((end, index) => stream.subarray(ends[index - 1] ?? 0, end));
}

const plain = ({ tag, payload }: Frame) => ({ tag, payload: payload.toString('hex') });

describe('a frame parser', () => {
  test('gives back the frames that were encoded, however the stream is cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(), { maxLength: 30 }), (sent, places) => {
        const stream = Buffer.concat(sent.map(({ tag, payload }) => encodeFrame(tag, payload)));
        const parser = new FrameParser();
        const received = cut(stream, places).flatMap((chunk) => [...parser.push(chunk)]);
        assert.deepEqual(received.map(plain), sent.map(plain));
      }),
    );
  });

  test('gives a frame with the chunk that completes it, byte by byte', () => {
    const parser = new FrameParser();
    const stream = encodeFrame(FrameTag.Reply, Buffer.from('ok'));
    const counts = [...stream].map((byte) => [...parser.push(Buffer.of(byte))].length);
    assert.deepEqual(counts, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  });

  test('does not copy the payload of a frame that arrived whole', () => {
    const chunk = encodeFrame(FrameTag.Call, Buffer.from('pixels'));
    const [frame] = new FrameParser().push(chunk);
    assert.equal(frame?.payload.buffer, chunk.buffer);
  });

  test('copies a frame that arrives in many pieces only once', (t) => {
    let copied = 0;
    const concat = Buffer.concat;
    t.mock.method(Buffer, 'concat', (parts: readonly Buffer[], length?: number) => {
      const whole = concat(parts, length);
      copied += whole.length;
      return whole;
    });
    const stream = encodeFrame(FrameTag.Reply, Buffer.alloc(2 ** 20));
    const parser = new FrameParser();
    let frames = 0;
    for (let at = 0; at < stream.length; at += 1024)
      frames += [...parser.push(stream.subarray(at, at + 1024))].length;
    assert.equal(frames, 1);
    assert.ok(copied <= 2 * stream.length, `${copied} bytes were copied`);
  });

  test('refuses what is longer than its own limit', () => {
    const stream = encodeFrame(FrameTag.Reply, Buffer.alloc(11));
    assert.throws(
      () => [...new FrameParser(10).push(stream)],
      /^Error: a frame of 11 bytes is beyond the limit$/,
    );
    assert.equal([...new FrameParser(11).push(stream)].length, 1);
  });

  test('takes a frame of the largest size and refuses a larger one by its header alone', () => {
    const header = Buffer.alloc(8);
    header.writeUInt32LE(FrameTag.Reply, 4);
    header.writeUInt32LE(MAX_FRAME_BYTES, 0);
    assert.deepEqual([...new FrameParser().push(header)], []);
    header.writeUInt32LE(MAX_FRAME_BYTES + 1, 0);
    assert.throws(
      () => [...new FrameParser().push(header)],
      /^Error: a frame of 67108865 bytes is beyond the limit$/,
    );
  });
});

test('a frame is its length, its tag and its payload, little-endian', () => {
  const frame = encodeFrame(FrameTag.Call, Buffer.from([0xaa, 0xbb]));
  assert.deepEqual([...frame], [2, 0, 0, 0, 4, 0, 0, 0, 0xaa, 0xbb]);
});

test('a JSON frame holds the JSON text of its message', () => {
  const message = { problems: ['zu groß', '画像'] };
  const [frame] = new FrameParser().push(encodeJsonFrame(FrameTag.Failed, message));
  assert.equal(frame?.tag, FrameTag.Failed);
  assert.deepEqual(JSON.parse(frame?.payload.toString() ?? ''), message);
});

describe('blocking reads', () => {
  /**
   * Calls `use` with the two ends of a file that begins with `content`: one appends to it, one
   * reads it from the start.
   */
  function withFile(content: Uint8Array, use: (reading: number, writing: number) => void): void {
    const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
    const path = join(folder, 'channel');
    writeFileSync(path, content);
    const [reading, writing] = [openSync(path, 'r'), openSync(path, 'a')];
    try {
      use(reading, writing);
    } finally {
      closeSync(reading);
      closeSync(writing);
      rmSync(folder, { recursive: true });
    }
  }

  test('receive what was sent, frame by frame, and null at the end', () => {
    withFile(Buffer.alloc(0), (reading, writing) => {
      sendFrame(writing, encodeFrame(FrameTag.Call, Buffer.from('first')));
      sendFrame(writing, encodeFrame(FrameTag.Reply, Buffer.alloc(0)));
      assert.deepEqual(receiveFrame(reading), {
        tag: FrameTag.Call,
        payload: Buffer.from('first'),
      });
      assert.deepEqual(receiveFrame(reading), { tag: FrameTag.Reply, payload: Buffer.alloc(0) });
      assert.equal(receiveFrame(reading), null);
    });
  });

  test('take a channel that closed within a frame for closed', () => {
    const frame = encodeFrame(FrameTag.Call, Buffer.from('payload'));
    for (const length of [1, 7, 8, frame.length - 1]) {
      withFile(frame.subarray(0, length), (reading) => assert.equal(receiveFrame(reading), null));
    }
  });
});
