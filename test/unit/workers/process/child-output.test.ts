/** What children write, as lines that are neither too long nor too many. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  LineReader,
  MOST_LINE_BYTES,
  MOST_LINES,
  WINDOW_MS,
} from '#vitserve/workers/process/child-output.js';
import { FakeClock } from '../../../support/fake-clock.js';

function stand() {
  const clock = new FakeClock();
  const lines: string[] = [];
  return { clock, lines, reader: new LineReader(clock, (line) => lines.push(line)) };
}

describe('a line reader', () => {
  test('gives the lines that were written, however they are cut', () => {
    const text = fc.array(
      fc.string({ maxLength: 40 }).map((line) => line.replace(/[\r\n]/g, '·')),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(text, fc.array(fc.nat({ max: 300 }), { maxLength: 10 }), (written, places) => {
        const { lines, reader } = stand();
        const stream = Buffer.from(written.map((line) => `${line}\n`).join(''));
        const ends = [...places.filter((place) => place < stream.length), stream.length].sort(
          (a, b) => a - b,
        );
        for (const [index, end] of ends.entries())
          reader.push(stream.subarray(ends[index - 1] ?? 0, end));
        assert.deepEqual(lines, written);
      }),
    );
  });

  test('takes a carriage return off, and what stands after the last end of line at the end', () => {
    const { lines, reader } = stand();
    reader.push(Buffer.from('one\r\ntwo'));
    assert.deepEqual(lines, ['one']);
    reader.end();
    assert.deepEqual(lines, ['one', 'two']);
  });

  test('keeps the beginning of a line of 64 MiB and nothing else of it', () => {
    const { lines, reader } = stand();
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const before = process.memoryUsage().arrayBuffers;
    for (let sent = 0; sent < 1024; sent++) reader.push(chunk);
    assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
    reader.push(Buffer.from('end\nnext\n'));
    assert.deepEqual(lines, [`${'x'.repeat(MOST_LINE_BYTES)} …`, 'next']);
  });

  test('passes a hundred lines on in ten seconds, and says how many more there were', () => {
    const { clock, lines, reader } = stand();
    for (let line = 0; line < MOST_LINES + 7; line++) reader.push(Buffer.from(`${line}\n`));
    assert.deepEqual([lines.length, lines.at(-1)], [MOST_LINES, `${MOST_LINES - 1}`]);
    clock.advance(WINDOW_MS);
    reader.push(Buffer.from('later\n'));
    assert.deepEqual(lines.slice(MOST_LINES), ['… 7 more lines were left out', 'later']);
  });

  test('says at the end what it has left out', () => {
    const { lines, reader } = stand();
    for (let line = 0; line < MOST_LINES + 1; line++) reader.push(Buffer.from('\n'));
    reader.end();
    assert.equal(lines.at(-1), '… 1 more lines were left out');
  });

  test('gives bytes that are no text as text', () => {
    const { lines, reader } = stand();
    reader.push(Buffer.of(0xff, 0xfe, 0x00, 0x41, 0x0a));
    assert.deepEqual(lines, ['\ufffd\ufffd\u0000A']);
  });
});
