import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import { classIndexes, csvRows, labelledImages } from '#vitserve/tools/evaluate/labelled-images.js';
import { temporaryFolder } from '../../../support/scope.js';

const problemsOf = async (work: () => unknown) => {
  try {
    await work();
  } catch (error) {
    if (error instanceof SetupError) return error.problems;
    throw error;
  }
  throw new Error('nothing was wrong');
};

describe('labelled images', () => {
  test('of a folder have the names of its folders', async (t) => {
    const data = temporaryFolder(t);
    for (const folder of ['dog', 'cat/deeper']) mkdirSync(join(data, folder), { recursive: true });
    for (const file of ['dog/b.PNG', 'dog/a.jpg', 'cat/deeper/c.webp', 'dog/notes.txt', 'x.jpg'])
      writeFileSync(join(data, file), '');
    assert.deepEqual(await labelledImages(data), [
      { path: join(data, 'cat/deeper/c.webp'), label: 'cat' },
      { path: join(data, 'dog/a.jpg'), label: 'dog' },
      { path: join(data, 'dog/b.PNG'), label: 'dog' },
    ]);
  });

  test('of a CSV file are relative to it; a heading is no row', async (t) => {
    const data = join(temporaryFolder(t), 'labels.csv');
    writeFileSync(data, 'file,label\nimages/a.jpg,cat\n"/far/b, c.png","a ""big"" dog"\n');
    assert.deepEqual(await labelledImages(data), [
      { path: join(data, '../images/a.jpg'), label: 'cat' },
      { path: '/far/b, c.png', label: 'a "big" dog' },
    ]);
    writeFileSync(data, 'a.jpg,cat\nb.jpg\nc.txt,dog\n');
    assert.deepEqual(await problemsOf(() => labelledImages(data)), [
      `${data}, row 2: give an image file and its label`,
      `${data}, row 3: give an image file and its label`,
    ]);
  });

  test('that are none, or are not there, are a problem', async (t) => {
    const data = temporaryFolder(t);
    const csv = join(data, 'empty.csv');
    writeFileSync(csv, 'file,label\n');
    const [none] = await problemsOf(() => labelledImages(data));
    assert.match(String(none), /has no folder of JPEG, PNG or WebP files: make one for each class/);
    assert.match(String(await problemsOf(() => labelledImages(csv))), /has no row with a file/);
    assert.match(String(await problemsOf(() => labelledImages(join(data, 'x')))), /can't read/);
  });
});

test('rows of CSV may end in any way, and hold quotes, commas and line ends', () => {
  assert.deepEqual(csvRows('\ufeffa,b\r\n\r\n"c\nd",""""\n,e'), [
    ['a', 'b'],
    ['c\nd', '"'],
    ['', 'e'],
  ]);
  assert.deepEqual(csvRows(''), []);
});

test('labels are those of the model, or indexes; all others are named at once', async () => {
  const of = (...labels: string[]) => labels.map((label) => ({ path: '', label }));
  assert.deepEqual(
    classIndexes(of('dog', '0', 'dog'), ['cat', 'dog']),
    new Map([
      ['dog', 1],
      ['0', 0],
    ]),
  );
  // A label of digits is a label first.
  assert.deepEqual(classIndexes(of('0'), ['1', '0']), new Map([['0', 1]]));
  assert.deepEqual(await problemsOf(() => classIndexes(of('caat', '2'), ['cat', 'dog'])), [
    '"caat" is no label of the model; did you mean "cat"?',
    '"2" is no label of the model',
    'name classes by the labels that "vitserve inspect" shows, or by their index from 0',
  ]);
});
