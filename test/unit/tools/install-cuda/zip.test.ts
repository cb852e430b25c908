/** Archives like wheels and NuGet packages, and damaged ones. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Zip } from '#vitserve/tools/install-cuda/zip.js';
import { temporaryFolder } from '../../../support/scope.js';
import { zipOf } from '../../../support/zip.js';

/** Noise does not shrink, so its archive has several chunks. */
const NOISE = randomBytes(3_000_000);

async function open(t: TestContext, archive: Buffer): Promise<Zip> {
  const path = join(temporaryFolder(t), 'archive.zip');
  writeFileSync(path, archive);
  const zip = await Zip.open(path);
  t.after(() => zip.close());
  return zip;
}

async function readAll(zip: Zip, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await zip.read(name, async (chunk) => {
    chunks.push(Buffer.from(chunk));
  });
  return Buffer.concat(chunks);
}

test('stored and deflated files are read, whatever follows the directory', async (t) => {
  const files = [
    { name: 'a/stored.so', bytes: NOISE, stored: true },
    { name: 'a/ünpacked.so', bytes: NOISE },
    { name: 'empty', bytes: Buffer.alloc(0) },
  ];
  const zip = await open(t, zipOf(files, 'a comment PK\x05\x06'));
  assert.deepEqual(
    zip.names,
    files.map(({ name }) => name),
  );
  for (const { name, bytes } of files) assert.ok(bytes.equals(await readAll(zip, name)), name);
});

test('a missing file, and one that is longer or shorter than announced, is an error', async (t) => {
  const zip = await open(
    t,
    zipOf([
      { name: 'bomb', bytes: Buffer.alloc(5_000_000), claimedBytes: 1000 },
      { name: 'short', bytes: Buffer.alloc(10), claimedBytes: 1000 },
    ]),
  );
  await assert.rejects(readAll(zip, 'other'), /the archive has no other/);
  await assert.rejects(readAll(zip, 'bomb'), /bomb is longer than the archive says/);
  await assert.rejects(readAll(zip, 'short'), /short is shorter than the archive says/);
});

test('damaged archives are rejected, at the latest when the file is read', async (t) => {
  const whole = zipOf([{ name: 'file', bytes: NOISE }]);
  await assert.rejects(
    open(t, Buffer.from('PK but no archive, and long enough to have an end')),
    /not a ZIP archive/,
  );
  await assert.rejects(open(t, Buffer.alloc(0)), /not a ZIP archive/);
  await assert.rejects(open(t, whole.subarray(1000)), /damaged|truncated/);
  const broken = Buffer.from(whole);
  broken.fill(0xff, 1000, 1100);
  await assert.rejects(async () => {
    const bytes = await readAll(await open(t, broken), 'file');
    // Deflate has no checksum of its own; the caller's hash finds what it lets through.
    assert.ok(bytes.equals(NOISE));
  });
});
