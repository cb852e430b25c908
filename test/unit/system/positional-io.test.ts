import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { readFullyAt, writeFullyAt } from '#vitserve/system/positional-io.js';

describe('reads and writes at a position', () => {
  let folder: string;
  let path: string;
  let fd: number;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'vitserve-positional-'));
    path = join(folder, 'file');
    fd = openSync(path, 'wx+');
  });

  afterEach(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  test('transfer all bytes, from the position on', () => {
    writeFullyAt(fd, Buffer.from('abcdef'), 2);
    writeFullyAt(fd, Buffer.from('CD'), 4);
    assert.equal(readFileSync(path, 'latin1'), '\0\0abCDef');
    const target = Buffer.alloc(4);
    assert.equal(readFullyAt(fd, target, 3), true);
    assert.equal(target.toString(), 'bCDe');
  });

  test('a file that ends before is reported', () => {
    writeFullyAt(fd, Buffer.from('abc'), 0);
    assert.equal(readFullyAt(fd, Buffer.alloc(3), 1), false);
    assert.equal(readFullyAt(fd, Buffer.alloc(0), 3), true);
  });
});
