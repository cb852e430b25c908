/** The progress bar, on a terminal that only remembers. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { WriteStream } from 'node:tty';
import { Progress } from '#vitserve/cli/progress.js';

function bar(
  total: number,
  isTTY = true,
): { readonly progress: Progress; readonly written: string[] } {
  const written: string[] = [];
  const stream = { isTTY, write: (text: string) => written.push(text) };
  return { progress: new Progress(total, stream as unknown as WriteStream), written };
}

describe('on a terminal', () => {
  test('it shows how much is done, in place of the previous state', () => {
    const { progress, written } = bar(60);
    for (const done of [0, 1, 30, 60]) progress.show(done);
    assert.deepEqual(written, [
      `\r[${' '.repeat(30)}] 0/60`,
      `\r[━${' '.repeat(29)}] 1/60`,
      `\r[${'━'.repeat(15)}${' '.repeat(15)}] 30/60`,
      `\r[${'━'.repeat(30)}] 60/60`,
    ]);
  });

  test('it is removed for a line of output', () => {
    const { progress, written } = bar(6);
    progress.clear();
    assert.deepEqual(written, ['\r\u001b[K']);
  });

  test('it does not appear for a few steps', () => {
    const { progress, written } = bar(5);
    progress.show(3);
    progress.clear();
    assert.deepEqual(written, []);
  });
});

test('elsewhere nothing is written', () => {
  const { progress, written } = bar(100, false);
  progress.show(50);
  progress.clear();
  assert.deepEqual(written, []);
});
