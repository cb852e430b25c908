/**
 * Models on the disk: one file or two, written whole or not at all, and what a model must not make
 * us read.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { graphOf, modelOf, nodeOf, tensor, valueInfoOf } from '#vitserve/onnx/graph/build.js';
import { encodeModel } from '#vitserve/onnx/proto/codec.js';
import { readModel, writeModel } from '#vitserve/onnx/proto/files.js';
import type { ModelProto, TensorProto } from '#vitserve/onnx/proto/model-proto.js';
import { float32Tensor, int64Tensor } from '#vitserve/onnx/proto/tensors.js';

function modelWith(initializer: TensorProto[]): ModelProto {
  return modelOf(graphOf('g', { initializer, output: [valueInfoOf('w', 1, [null])] }), {
    opsets: { '': 17 },
  });
}

const WEIGHTS = [
  float32Tensor(
    'w',
    [1000],
    Float32Array.from({ length: 1000 }, (_, at) => at),
  ),
  int64Tensor('shape', [2], [-1, 5]),
  float32Tensor(
    'v',
    [300],
    Float32Array.from({ length: 300 }, (_, at) => -at),
  ),
];

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-onnx-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** A model whose tensor `w` of `bytes` bytes is elsewhere, as these entries say. */
function writeExternal(folder: string, entries: Record<string, string>, bytes = 8): string {
  const { rawData: _, ...rest } = float32Tensor('w', [bytes / 4], new Float32Array(bytes / 4));
  const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
  const path = join(folder, 'model.onnx');
  writeFileSync(path, encodeModel(modelWith([{ ...rest, externalData, dataLocation: 1 }])));
  return path;
}

describe('one file', () => {
  test('comes back unchanged, with the hash and size of what is on the disk', async (t) => {
    const path = join(folderOf(t), 'model.onnx');
    const model = modelWith(WEIGHTS);
    const written = await writeModel(path, model);
    assert.deepEqual(await readModel(path), model);
    assert.deepEqual(written, {
      path,
      bytes: readFileSync(path).length,
      sha256: sha256(path),
      externalData: null,
    });
  });

  test('replaces another at once, and leaves nothing else in the folder', async (t) => {
    const folder = folderOf(t);
    const path = join(folder, 'model.onnx');
    writeFileSync(path, 'something else');
    await writeModel(path, modelWith(WEIGHTS));
    assert.deepEqual(readdirSync(folder), ['model.onnx']);
  });

  test('that cannot be placed leaves nothing, and the old file unchanged', async (t) => {
    const folder = folderOf(t);
    const path = join(folder, 'model.onnx');
    mkdirSync(path);
    await assert.rejects(writeModel(path, modelWith(WEIGHTS)), (error) => {
      return error instanceof SetupError && error.message.startsWith(`${path}: can't be written (`);
    });
    assert.deepEqual(readdirSync(folder), ['model.onnx']);
    await assert.rejects(writeModel(join(folder, 'none', 'model.onnx'), modelWith([])), SetupError);
  });

  test('above 2 GiB is rejected if a second file is not wanted', async (t) => {
    const folder = folderOf(t);
    const half = new Float32Array(2 ** 27);
    const large = modelWith(
      Array.from({ length: 5 }, (_, at) => float32Tensor(`w${at}`, [2 ** 27], half)),
    );
    const writing = writeModel(join(folder, 'model.onnx'), large, { externalData: 'never' });
    await assert.rejects(
      writing,
      /can't be written \(the model has 26\d{8} bytes, more than the 2147483647 of protobuf\)/,
    );
    assert.deepEqual(readdirSync(folder), []);
  });

  test('above 2 GiB is not read', async (t) => {
    const path = join(folderOf(t), 'model.onnx');
    writeFileSync(path, '');
    truncateSync(path, 2 ** 31);
    await assert.rejects(
      readModel(path),
      /: can't be read \(it has 2147483648 bytes, more than the 2 GiB of an ONNX file: export it with external data\)$/,
    );
  });

  test('that is not a model is rejected by name', async (t) => {
    const folder = folderOf(t);
    const path = join(folder, 'model.onnx');
    await assert.rejects(
      readModel(path),
      (error) =>
        error instanceof SetupError && error.message.startsWith(`${path}: can't be read (ENOENT`),
    );
    await assert.rejects(readModel(folder), /can't be read \(it is not a regular file\)/);
    writeFileSync(path, 'PK\u0003\u0004');
    await assert.rejects(
      readModel(path),
      (error) =>
        error instanceof SetupError && error.message.startsWith(`${path}: not an ONNX model (`),
    );
  });
});

describe('weights in a second file', () => {
  test('come back unchanged; large ones are outside and aligned, small ones inside', async (t) => {
    const path = join(folderOf(t), 'model.onnx');
    const model = modelWith(WEIGHTS);
    const written = await writeModel(path, model, { externalData: 'always' });
    assert.deepEqual(written.externalData, {
      path: `${path}.data`,
      bytes: 4096 + 1200,
      sha256: sha256(`${path}.data`),
    });
    assert.equal(written.sha256, sha256(path));
    assert.deepEqual(await readModel(path), model);
    const left = await readModel(path, { loadExternalData: false });
    assert.deepEqual(
      left.graph.initializer.map(({ externalData, rawData }) => [
        rawData?.length,
        ...externalData.map(({ key, value }) => `${key}=${value}`),
      ]),
      [
        [undefined, 'location=model.onnx.data', 'offset=0', 'length=4000'],
        [16],
        [undefined, 'location=model.onnx.data', 'offset=4096', 'length=1200'],
      ],
    );
    await assert.rejects(
      writeModel(`${path}.copy`, left),
      /tensor "w" has its values in a file that was not read/,
    );
  });

  test('are read for attributes too, and shared regions once', async (t) => {
    const folder = folderOf(t);
    const { rawData: _, ...rest } = float32Tensor('w', [2], [0, 0]);
    const outside = {
      ...rest,
      externalData: [{ key: 'location', value: 'weights' }],
      dataLocation: 1,
    };
    const model = modelWith([outside, { ...outside, name: 'same' }]);
    model.graph.node = [nodeOf('Constant', [], ['c'], { attributes: { value: tensor(outside) } })];
    const path = join(folder, 'model.onnx');
    writeFileSync(path, encodeModel(model));
    writeFileSync(join(folder, 'weights'), new Uint8Array(Float32Array.of(3, 4).buffer));
    const { initializer, node } = (await readModel(path)).graph;
    const bytes = new Uint8Array(Float32Array.of(3, 4).buffer);
    assert.deepEqual(
      [...initializer.map(({ rawData }) => rawData), node[0]?.attribute[0]?.t?.rawData],
      [bytes, bytes, bytes],
    );
    assert.equal(initializer[0]?.rawData, initializer[1]?.rawData);
    assert.deepEqual([initializer[0]?.externalData, initializer[0]?.dataLocation], [[], 0]);
  });

  const REFUSED: readonly [what: string, entries: Record<string, string>, reason: RegExp][] = [
    [
      'an absolute path',
      { location: '/etc/passwd' },
      /tensor "w" has its values in "\/etc\/passwd", which can't be read \(absolute paths are not allowed\)$/,
    ],
    ['an absolute path of Windows', { location: 'C:\\weights' }, /absolute paths are not allowed/],
    ['a way out', { location: 'inside/../../outside' }, /\(paths with ".." are not allowed\)$/],
    ['a way out of Windows', { location: '..\\outside' }, /\(paths with ".." are not allowed\)$/],
    [
      'a link that leads out',
      { location: 'link' },
      /\(a link leads out of the model's folder: put a copy of the file beside the model\)$/,
    ],
    [
      'a link of the folder that leads out',
      { location: 'linked-folder/outside' },
      /a link leads out of the model's folder/,
    ],
    ['the folder itself', { location: '.' }, /a link leads out|no regular file/],
    ['a folder', { location: 'inside' }, /it is not a regular file/],
    [
      'a file that is not there',
      { location: 'missing' },
      /"missing", which can't be read \(ENOENT/,
    ],
    [
      'an end beyond the file',
      { location: 'weights', offset: '4096' },
      /tensor "w" ends at byte 4104, the file at 4100\)$/,
    ],
    [
      'another length',
      { location: 'weights', length: '12' },
      /tensor "w" has 12 bytes in weights; its dims take 8$/,
    ],
    [
      'a negative offset',
      { location: 'weights', offset: '-8' },
      /tensor "w" has the offset "-8" in weights$/,
    ],
    [
      'no location',
      { offset: '0' },
      /tensor "w" has its values in another file but does not name it$/,
    ],
  ];
  for (const [what, entries, reason] of REFUSED) {
    test(`${what} are rejected by name`, async (t) => {
      const outside = folderOf(t);
      const folder = join(outside, 'model');
      mkdirSync(join(folder, 'inside'), { recursive: true });
      writeFileSync(join(outside, 'outside'), new Uint8Array(4100));
      writeFileSync(join(folder, 'weights'), new Uint8Array(4100));
      symlinkSync(join(outside, 'outside'), join(folder, 'link'));
      symlinkSync(outside, join(folder, 'linked-folder'));
      const path = writeExternal(folder, entries);
      await assert.rejects(readModel(path), (error) => {
        assert.ok(error instanceof SetupError, String(error));
        assert.match(error.message, reason);
        assert.ok(error.message.startsWith(`${path}: `));
        return true;
      });
    });
  }

  test('may be a link inside the folder', async (t) => {
    const folder = folderOf(t);
    writeFileSync(join(folder, 'weights'), new Uint8Array(8).fill(1));
    symlinkSync('weights', join(folder, 'link'));
    const { graph } = await readModel(writeExternal(folder, { location: 'link' }));
    assert.deepEqual(graph.initializer[0]?.rawData, new Uint8Array(8).fill(1));
  });

  test('that overlap are rejected: a small file could otherwise fill the memory', async (t) => {
    const folder = folderOf(t);
    writeFileSync(join(folder, 'weights'), new Uint8Array(4100));
    const { rawData: _, ...rest } = float32Tensor('w', [1024], new Float32Array(1024));
    const outside = [0, 4].map((offset) => ({
      ...rest,
      name: `w${offset}`,
      externalData: [
        { key: 'location', value: 'weights' },
        { key: 'offset', value: String(offset) },
      ],
      dataLocation: 1,
    }));
    const path = join(folder, 'model.onnx');
    writeFileSync(path, encodeModel(modelWith(outside)));
    await assert.rejects(readModel(path), /its tensors overlap/);
  });

  test('are found beside the model whatever its file is called', async (t) => {
    const path = join(folderOf(t), 'tiny.onnx');
    const { externalData } = await writeModel(path, modelWith(WEIGHTS), { externalData: 'always' });
    assert.equal(basename(externalData?.path ?? ''), 'tiny.onnx.data');
    assert.deepEqual(await readModel(path), modelWith(WEIGHTS));
  });
});
