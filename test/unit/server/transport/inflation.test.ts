/**
 * What is decompressed, kept and held back of a compressed message; zlib compresses the bytes
 * itself.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { FieldScanner } from '#vitserve/server/transport/field-scanner.js';
import { Inflation } from '#vitserve/server/transport/inflation.js';
import { StreamMessages } from '#vitserve/server/transport/stream-messages.js';

const MOST_BYTES = 100_000;
/** What zlib hands out at a time. */
const PIECE_BYTES = 16 * 1024;

/** Counts what it is shown. */
class CountingScanner extends FieldScanner {
  bytes = 0;

  override write(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    super.write(bytes);
  }
}

function begin(
  options: { isTooLong?: boolean; isCutOff?: boolean; encoding?: 'gzip' | 'deflate' } = {},
) {
  const scanner = new CountingScanner(1, 100);
  const holding = { times: 0, now: 0 };
  const inflation = new Inflation({
    encoding: 'gzip',
    mostBytes: MOST_BYTES,
    isTooLong: false,
    isCutOff: false,
    ...options,
    scanner,
    hold: () => {
      holding.times++;
      holding.now++;
      return () => holding.now--;
    },
  });
  return { inflation, scanner, holding };
}

/** Of a message with its id first or last. */
const id = Buffer.from([0x0a, 2, 0x69, 0x64]);
const image = (bytes: number) => {
  const header = [0x12];
  let rest = bytes;
  for (; rest >= 0x80; rest >>>= 7) header.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([...header, rest]), Buffer.alloc(bytes)]);
};

describe('a compressed message', () => {
  test('is decompressed, in either encoding', async () => {
    const content = Buffer.concat([id, image(MOST_BYTES - 100)]);
    for (const [encoding, fold] of [
      ['gzip', gzipSync],
      ['deflate', deflateSync],
    ] as const) {
      const { inflation } = begin({ encoding });
      for (const byte of fold(content)) inflation.write(Buffer.from([byte]));
      inflation.end();
      assert.deepEqual(await inflation.content, content);
    }
  });

  test('that is too large is decompressed no further than to the limit where its id is known', async () => {
    const { inflation, scanner } = begin();
    inflation.write(gzipSync(Buffer.concat([id, image(100 * MOST_BYTES)])));
    inflation.end();
    assert.equal(await inflation.content, null);
    assert.equal(scanner.value?.toString(), 'id');
    assert(scanner.bytes <= MOST_BYTES + PIECE_BYTES, `${scanner.bytes} bytes were unfolded`);
  });

  test('that is too large is searched for its id up to twice the limit', async () => {
    for (const [bytes, found] of [
      [MOST_BYTES + 10, 'id'],
      [100 * MOST_BYTES, null],
    ] as const) {
      const { inflation, scanner } = begin();
      inflation.write(gzipSync(Buffer.concat([image(bytes), id])));
      inflation.end();
      assert.equal(await inflation.content, null);
      assert.equal(scanner.value?.toString() ?? null, found);
      assert(scanner.bytes <= 2 * MOST_BYTES + PIECE_BYTES, `${scanner.bytes} bytes were unfolded`);
    }
  });

  test('of which only the beginning comes is searched in that', async () => {
    const folded = gzipSync(Buffer.concat([id, randomBytes(MOST_BYTES)]));
    const { inflation, scanner } = begin({ isTooLong: true, isCutOff: true });
    inflation.write(folded.subarray(0, 1_000));
    inflation.end();
    assert.equal(await inflation.content, null);
    assert.equal(scanner.value?.toString(), 'id');
  });

  test('that is malformed rejects with a status; one that is too long already does not', async () => {
    for (const isTooLong of [false, true]) {
      const { inflation } = begin({ isTooLong });
      inflation.write(Buffer.from('no gzip'));
      inflation.end();
      if (isTooLong) assert.equal(await inflation.content, null);
      else await assert.rejects(inflation.content, { details: 'Failed to decompress message' });
    }
  });

  test('is held back while too much of it waits, and released when it is done or destroyed', async () => {
    const folded = gzipSync(Buffer.concat([image(10), randomBytes(4 * 2 ** 20)]));
    const { inflation, holding } = begin({ isTooLong: true });
    inflation.write(folded);
    assert.deepEqual(holding, { times: 1, now: 1 });
    inflation.end();
    await inflation.content;
    assert.equal(holding.now, 0);
    const given = begin({ isTooLong: true });
    given.inflation.write(folded);
    assert.equal(given.holding.now, 1);
    given.inflation.destroy();
    assert.equal(given.holding.now, 0);
    given.inflation.write(folded);
    assert.equal(given.holding.now, 0, 'what comes after that waits for nothing');
  });
});

describe('a body that is cut into messages', () => {
  test('holds nothing of what is skipped, and cuts the same wherever its pieces end', async () => {
    const create = () =>
      new StreamMessages({
        maxImageBytes: 50,
        maxMessageBytes: 100,
        encoding: 'identity',
        hold: () => () => {},
      });
    const frame = (content: Buffer) => {
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(content.length, 1);
      return Buffer.concat([prefix, content]);
    };
    const body = Buffer.concat([
      frame(Buffer.concat([id, image(20)])),
      frame(Buffer.alloc(0)),
      frame(Buffer.concat([id, image(500)])),
      frame(Buffer.concat([image(100), id])),
      frame(id),
    ]);
    for (let size = 1; size <= body.length; size++) {
      const messages = create();
      const cut: Buffer[] = [];
      for (let at = 0; at < body.length; at += size)
        cut.push(...messages.write(body.subarray(at, at + size)));
      assert.deepEqual(cut, [
        frame(Buffer.concat([id, image(20)])),
        frame(Buffer.alloc(0)),
        frame(id),
        frame(id),
        frame(id),
      ]);
      const refused = cut.map((message) => {
        messages.onMessage(message);
        return messages.rejectionOf(message) !== null;
      });
      assert.deepEqual(refused, [false, false, true, true, false], `in pieces of ${size}`);
    }
  });

  test('returns nothing more once its call has ended', () => {
    const messages = new StreamMessages({
      maxImageBytes: 50,
      maxMessageBytes: 100,
      encoding: 'gzip',
      hold: () => () => {},
    });
    assert.deepEqual(messages.write(Buffer.from([1, 0, 0, 0, 9, 1])), []);
    messages.destroy();
    assert.deepEqual(messages.write(Buffer.alloc(100)), []);
  });
});
