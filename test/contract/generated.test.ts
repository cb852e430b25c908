/** What is generated and committed is what its sources give today. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { REPOSITORY } from './repository.js';

test('generated files are up to date', () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['tools/generate.mjs', '--check'],
    {
      cwd: REPOSITORY,
      encoding: 'utf8',
    },
  );
  assert.equal(status, 0, `${stdout}${stderr}`);
});
