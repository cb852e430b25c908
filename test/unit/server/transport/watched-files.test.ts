/** Files that change, with a clock that is moved by hand. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { WatchedFiles } from '#vitserve/server/transport/watched-files.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { eventually, temporaryFolder } from '../../../support/scope.js';

const parse = (contents: readonly Buffer[]) => {
  const text = contents.join(' and ');
  if (text.includes('broken')) throw new SetupError('environment', [`it is ${text}`]);
  return text;
};

test('a look finds new content, nothing where there is none, and keeps the old where the new is unusable', async (t) => {
  const folder = temporaryFolder(t);
  const paths = ['one', 'two'].map((name) => join(folder, name));
  const write = (...contents: string[]) => {
    for (const [at, content] of contents.entries()) writeFileSync(paths[at] as string, content);
  };
  write('a', 'b');
  const files = await WatchedFiles.open(
    paths.map((path) => ({ option: 'some-file', path })),
    parse,
  );
  assert.equal(files.value, 'a and b');
  assert.equal(await files.look(), false);
  write('a', 'c');
  assert.equal(await files.look(), true);
  assert.equal(files.value, 'a and c');
  write('broken', 'c');
  for (let look = 0; look < 2; look++)
    await assert.rejects(files.look(), { problems: ['it is broken and c'] });
  assert.equal(files.value, 'a and c');
  write('a', 'c');
  assert.equal(await files.look(), false, 'it is as it was');
  rmSync(paths[0] as string);
  await assert.rejects(files.look(), (error) => {
    assert(error instanceof SetupError);
    assert.match(error.problems.join(), /^some-file: .*one can't be read \(ENOENT/);
    return true;
  });
  assert.equal(files.value, 'a and c');
});

test('what can’t be used from the start is not opened', async (t) => {
  const path = join(temporaryFolder(t), 'file');
  await assert.rejects(WatchedFiles.open([{ option: 'some-file', path }], parse), {
    name: 'SetupError',
  });
  writeFileSync(path, 'broken');
  await assert.rejects(WatchedFiles.open([{ option: 'some-file', path }], parse), {
    problems: ['it is broken'],
  });
});

test('a folder that is swapped behind a link, as Kubernetes does it, is seen at the next look of the clock', async (t) => {
  const folder = temporaryFolder(t);
  const swap = (generation: string, content: string) => {
    mkdirSync(join(folder, generation));
    writeFileSync(join(folder, generation, 'file'), content);
    symlinkSync(generation, join(folder, '..new'));
    renameSync(join(folder, '..new'), join(folder, '..data'));
  };
  swap('first', 'before');
  symlinkSync(join('..data', 'file'), join(folder, 'file'));
  const files = await WatchedFiles.open(
    [{ option: 'some-file', path: join(folder, 'file') }],
    parse,
  );
  const clock = new FakeClock();
  const found: boolean[] = [];
  files.watch(clock, 10_000, async () => {
    found.push(await files.look());
  });
  swap('second', 'after');
  clock.advance(9_999);
  assert.equal(files.value, 'before');
  clock.advance(1);
  await eventually('it has looked', () => found.length === 1 && clock.timers === 1);
  assert.deepEqual([files.value, ...found], ['after', true]);
  clock.advance(10_000);
  await eventually('it has looked again', () => found.length === 2 && clock.timers === 1);
  assert.deepEqual(found, [true, false]);
  files.stop();
  clock.advance(10_000);
  assert.equal(clock.timers, 0, 'it looks no more');
});
