/** Which files a version's answers come from, and that no other bytes are loaded in their place. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import {
  hashExternalWeights,
  hashGraph,
  loadUnchanged,
  stampOf,
} from '#vitserve/models/weights.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const sha256Of = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

function write(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** How a tensor names the file of its values. */
function location(name: string): Buffer {
  const text = Buffer.from(name);
  const length =
    text.length < 0x80 ? [text.length] : [(text.length & 0x7f) | 0x80, text.length >> 7];
  return Buffer.concat([Buffer.from('\n\x08location\x12', 'latin1'), Buffer.from(length), text]);
}

describe('the files of weights that a graph names', () => {
  test('are found wherever it names them, each once', async () => {
    // Around the edges of the pieces in which it is read.
    const long = `${'w'.repeat(200)}.data`;
    const parts: Buffer[] = [];
    let length = 0;
    for (const [at, name] of [
      [0, 'a.data'],
      [1024 * 1024 - 5, 'b.data'],
      [2 * 1024 * 1024 - 13, long],
      [2 * 1024 * 1024 + 5000, 'a.data'],
    ] as const) {
      parts.push(Buffer.alloc(at - length, 0x0a), location(name));
      length = at + location(name).length;
    }
    const graph = Buffer.concat(parts);
    const { sha256, locations } = await hashGraph(write('model.onnx', graph));
    assert.equal(sha256, sha256Of(graph));
    assert.deepEqual([...locations].sort(), ['a.data', 'b.data', long]);
  });

  test('are none if it holds its weights itself, or ends amid a name', async () => {
    for (const graph of [
      '',
      'a graph',
      'its location',
      location('a.data').subarray(0, -1),
      location(''),
    ]) {
      const { locations } = await hashGraph(write('model.onnx', graph));
      assert.deepEqual([...locations], []);
    }
  });

  test('count if they are in its folder', async () => {
    mkdirSync(join(folder, 'parts'));
    const inside = [write('a.data', 'one'), write('parts/b.data', 'two')];
    const names = [
      'parts/b.data',
      'a.data',
      'gone.data',
      '../outside.data',
      '/etc/hostname',
      'parts',
      'a\0b',
    ];
    const files = await hashExternalWeights(join(folder, 'model.onnx'), names);
    assert.deepEqual(
      files,
      inside.map((path, index) => ({ path, sha256: sha256Of(['one', 'two'][index] as string) })),
    );
  });
});

describe('a version', () => {
  const weights = () => [
    { path: write('model.onnx', 'a graph'), sha256: sha256Of('a graph') },
    { path: write('model.onnx.data', 'weights'), sha256: sha256Of('weights') },
  ];
  const never = () => assert.fail('it was loaded');

  test('is loaded if its files hold what was expected', async () => {
    assert.equal(await loadUnchanged('small/1', weights(), async () => 'a session'), 'a session');
  });

  test('is not loaded if a file holds something else; the error names the remedy', async () => {
    const files = weights();
    const path = write('model.onnx.data', 'better ones');
    await assert.rejects(
      loadUnchanged('small/1', files, never),
      new SetupError('environment', [
        `model small/1: ${path} has changed since this version was started: its sha256 begins with ` +
          `${sha256Of('better ones').slice(0, 12)}, expected ${sha256Of('weights').slice(0, 12)}: ` +
          'restore the old file, and put new weights into a new version folder',
      ]),
    );
  });

  test('is not loaded if a file is gone', async () => {
    const files = weights();
    rmSync(join(folder, 'model.onnx'));
    await assert.rejects(
      loadUnchanged('small/1', files, never),
      /model small\/1: can't read .*: restore the file$/,
    );
  });

  for (const [what, load] of [
    ['is loaded', async () => 'a session of unknown weights'],
    ['fails to load', async () => assert.fail('half a graph')],
  ] as const) {
    test(`is not loaded if a file is overwritten while it ${what}`, async () => {
      const files = weights();
      const loading = loadUnchanged('small/1', files, async () => {
        // As long as before, so that only the time differs.
        write('model.onnx', 'b graph');
        utimesSync(join(folder, 'model.onnx'), 1, 1);
        return await load();
      });
      await assert.rejects(
        loading,
        /model small\/1: .*model\.onnx changed while it was loaded: restore the old/,
      );
    });
  }

  test('that fails to load by itself says why', async () => {
    const failure = new Error('no such operator');
    await assert.rejects(
      loadUnchanged('small/1', weights(), () => Promise.reject(failure)),
      failure,
    );
  });
});

describe('the stamp of a folder', () => {
  test('changes with every file that comes, goes, grows or is rewritten, only then', async () => {
    const stamps = [await stampOf(folder)];
    const note = async () => stamps.push(await stampOf(folder));
    write('model.json', '{}');
    await note();
    write('model.json', '{ }');
    await note();
    utimesSync(join(folder, 'model.json'), 5, 5);
    await note();
    mkdirSync(join(folder, 'parts'));
    write('parts/b.data', 'x');
    await note();
    write('parts/b.data', 'xy');
    await note();
    rmSync(join(folder, 'parts'), { recursive: true });
    await note();
    rmSync(folder, { recursive: true });
    await note();
    mkdirSync(folder);
    for (const [index, stamp] of stamps.entries())
      assert.notEqual(stamp, stamps[index + 1], `change ${index + 1}`);
    write('model.json', '{}');
    assert.equal(await stampOf(folder), await stampOf(folder));
  });
});
