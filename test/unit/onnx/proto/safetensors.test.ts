/** Checkpoints: their contents are read exactly, and their problems reported. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { Checkpoint } from '#vitserve/onnx/proto/safetensors.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A file with this header (text, or an object that becomes JSON) and this data. */
function write(name: string, header: unknown, data: Uint8Array = new Uint8Array(0)): string {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat([length, text, data]));
  return path;
}

function refusal(path: string, read?: string): string {
  try {
    const checkpoint = Checkpoint.open(path);
    try {
      if (read !== undefined) checkpoint.read(read);
    } finally {
      checkpoint.close();
    }
  } catch (error) {
    assert.ok(error instanceof SetupError, String(error));
    return error.problems.join('\n');
  }
  return assert.fail('accepted');
}

const entry = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});
const FLOATS = new Uint8Array(Float32Array.of(1.5, -2.25).buffer);

describe('a checkpoint', () => {
  test('gives its tensors by name, widened exactly', () => {
    const halves = Uint8Array.of(0x00, 0x3c, 0x01, 0x00, 0xff, 0x7b);
    const brains = Uint8Array.of(0x80, 0x3f, 0x49, 0xc0);
    const path = write(
      'model.safetensors',
      {
        __metadata__: { format: 'pt' },
        single: entry('F32', [2, 1], 0, 8),
        half: entry('F16', [3], 8, 14),
        brain: entry('BF16', [2], 14, 18),
        empty: entry('F32', [0, 4], 18, 18),
      },
      Buffer.concat([FLOATS, halves, brains]),
    );
    for (const place of [path, folder]) {
      const checkpoint = Checkpoint.open(place);
      assert.deepEqual([...checkpoint.names].sort(), ['brain', 'empty', 'half', 'single']);
      assert.deepEqual(checkpoint.shapeOf('single'), [2, 1]);
      assert.equal(checkpoint.shapeOf('absent'), undefined);
      assert.equal(checkpoint.bytes, 18);
      assert.deepEqual([...checkpoint.read('single')], [1.5, -2.25]);
      assert.deepEqual([...checkpoint.read('half')], [1, 2 ** -24, 65_504]);
      assert.deepEqual([...checkpoint.read('brain')], [1, -3.140625]);
      assert.equal(checkpoint.read('empty').length, 0);
      checkpoint.close();
    }
  });

  test('may be in several files behind an index', () => {
    write('a.safetensors', { one: entry('F32', [1], 0, 4) }, FLOATS.subarray(0, 4));
    write('b.safetensors', { two: entry('F32', [1], 0, 4) }, FLOATS.subarray(4));
    const index = { weight_map: { one: 'a.safetensors', two: 'b.safetensors' } };
    writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify(index));
    const checkpoint = Checkpoint.open(folder);
    assert.deepEqual([...checkpoint.read('one'), ...checkpoint.read('two')], [1.5, -2.25]);
    checkpoint.close();
  });

  for (const [what, map, wanted] of [
    ['a file elsewhere', { one: '../a.safetensors' }, /one is in "\.\.\/a\.safetensors"/],
    ['a file that is not there', { one: 'none.safetensors' }, /none\.safetensors: can't be read/],
    [
      'a tensor that its file has not',
      { other: 'a.safetensors' },
      /other is not in a\.safetensors/,
    ],
    ['no map', null, /no weight_map/],
  ] as const) {
    test(`with an index that names ${what} is rejected`, () => {
      write('a.safetensors', { one: entry('F32', [1], 0, 4) }, FLOATS.subarray(0, 4));
      const path = join(folder, 'model.safetensors.index.json');
      writeFileSync(path, JSON.stringify({ weight_map: map }));
      assert.match(refusal(path), wanted);
    });
  }

  for (const [what, header, wanted] of [
    ['a header that is not JSON', '{"a":', /header is not JSON/],
    ['a header that is not an object', '[1]', /not a JSON object/],
    ['an entry that is not an object', { a: 3 }, /tensor a: its entry/],
    ['an unknown type', { a: entry('F3', [2], 0, 8) }, /dtype "F3" is unknown/],
    [
      'a type out of the prototype',
      { a: entry('constructor', [2], 0, 8) },
      /dtype "constructor" is unknown/,
    ],
    ['a negative size', { a: entry('F32', [-2], 0, 8) }, /shape \[-2\]/],
    ['a fractional size', { a: entry('F32', [0.5], 0, 8) }, /shape \[0\.5\]/],
    [
      'a shape beyond its bytes',
      { a: entry('F32', [3], 0, 8) },
      /takes 12 bytes, data_offsets give 8/,
    ],
    ['bytes outside the file', { a: entry('F32', [4], 0, 16) }, /outside the file/],
    ['offsets in reverse', { a: entry('F32', [2], 8, 0) }, /outside the file/],
    [
      'invalid offsets',
      { a: { dtype: 'F32', shape: [2], data_offsets: [0] } },
      /data_offsets \[0\]/,
    ],
    [
      'tensors that overlap',
      { a: entry('F32', [1], 0, 4), b: entry('F16', [2], 2, 6) },
      /b: its bytes overlap those of a/,
    ],
    ['a size that overflows', { a: entry('F32', [2 ** 40, 2 ** 40], 0, 8) }, /data_offsets give 8/],
  ] as const) {
    test(`with ${what} is rejected`, () =>
      assert.match(refusal(write('model.safetensors', header, FLOATS)), wanted));
  }

  test('has all its problems reported at once', () => {
    const problems = refusal(
      write('model.safetensors', { a: entry('F3', [2], 0, 8), b: 1 }, FLOATS),
    );
    assert.equal(problems.split('\n').length, 2);
  });

  test('that is cut short, or not a checkpoint, is rejected', () => {
    const path = join(folder, 'model.safetensors');
    writeFileSync(path, 'short');
    assert.match(refusal(path), /has 5 bytes/);
    writeFileSync(path, Buffer.alloc(64, 0xff));
    assert.match(refusal(path), /its header would take/);
    assert.match(refusal(join(folder, 'absent')), /can't be read/);
  });

  test('with values that are not floats throws when they are read', () => {
    assert.match(
      refusal(write('model.safetensors', { a: entry('I64', [1], 0, 8) }, FLOATS), 'a'),
      /tensor a is I64/,
    );
    assert.match(refusal(write('model.safetensors', {}), 'a'), /has no tensor a/);
  });

  for (const name of ['pytorch_model.bin', 'model.pth', 'last.ckpt']) {
    test(`that is a pickle (${name}) is rejected with the remedy`, () => {
      writeFileSync(join(folder, name), 'pickle');
      for (const path of [join(folder, name), folder])
        assert.match(refusal(path), /save the weights as safetensors/);
    });
  }

  test('must be named if a folder has several, or none', () => {
    assert.match(refusal(folder), /has no model\.safetensors/);
    for (const name of ['a.safetensors', 'b.safetensors']) write(name, {});
    assert.match(refusal(folder), /a\.safetensors, b\.safetensors/);
  });
});
