/** The largest pictures need no temporary file: a container may have no place for one. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import { DECODER_ENVIRONMENT } from '#vitserve/workers/decode/decoder-pool.js';
import { REPOSITORY, temporaryFolder } from '../support/server.js';

/** 108 MB once decoded: above 100 MB libvips would go to the disk. */
const SIDE = 6000;

const DECODE = `
  import { readFileSync } from 'node:fs';
  import { createImageDecoder } from '#vitserve/workers/decode/decode-image.js';
  const { decode } = createImageDecoder({ maxImagePixels: 50_000_000 });
  const { width, height } = await decode(readFileSync(process.argv[1]));
  process.stdout.write(width + ' × ' + height);
`;

test('a WebP picture of 36 million pixels is decoded without temporary files', async (t) => {
  const file = join(temporaryFolder(t), 'large.webp');
  const drawn = sharp({
    create: { width: SIDE, height: SIDE, channels: 3, background: '#3050a0' },
  });
  writeFileSync(file, await drawn.webp({ effort: 0 }).toBuffer());
  const decoded = execFileSync(process.execPath, ['--input-type=module', '--eval', DECODE, file], {
    cwd: REPOSITORY,
    env: { ...DECODER_ENVIRONMENT, TMPDIR: '/nonexistent' },
    encoding: 'utf8',
  });
  assert.equal(decoded, `${SIDE} × ${SIDE}`);
});
