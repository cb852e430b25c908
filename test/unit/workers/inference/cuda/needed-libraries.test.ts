/** What libraries need, read from libraries that every system has. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { neededLibraries } from '#vitserve/workers/inference/cuda/needed-libraries.js';
import { findOnnxruntime } from '#vitserve/workers/inference/cuda/provider-place.js';
import { temporaryFolder } from '../../../../support/scope.js';

const { libraryFolder } = findOnnxruntime();
const ON_LINUX =
  process.platform === 'linux' ? {} : { skip: 'the libraries of this system are no ELF files' };

test("onnxruntime's binding asks for onnxruntime and for the C library", ON_LINUX, () => {
  const needed = neededLibraries(join(libraryFolder, 'onnxruntime_binding.node'));
  assert.equal(needed[0], 'libonnxruntime.so.1');
  assert.ok(needed.includes('libc.so.6'), needed.join());
  for (const name of needed) assert.match(name, /^[\w+.-]+\.so(\.\d+)*$/);
});

test('a file that is not a library, or not a whole one, is rejected', ON_LINUX, (t) => {
  const folder = temporaryFolder(t);
  const put = (name: string, bytes: Uint8Array) => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const binding = readFileSync(join(libraryFolder, 'onnxruntime_binding.node'));
  assert.throws(
    () => neededLibraries(put('text', Buffer.alloc(200, 'text'))),
    /is not a 64-bit ELF file/,
  );
  assert.throws(() => neededLibraries(put('empty', Buffer.alloc(0))), /is truncated/);
  assert.throws(() => neededLibraries(put('cut', binding.subarray(0, 1000))), /is truncated/);
  const claims = Buffer.from(binding);
  claims.writeUInt16LE(0xffff, 56);
  assert.throws(() => neededLibraries(put('claims', claims)), /is truncated|is damaged/);
});
