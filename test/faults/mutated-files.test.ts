/**
 * Damaged files of every format through the built server, with the promises of `hostile-run.ts`. A
 * few hundred of each; `npm run fuzz` sends any number. A failure names the seed and the number of
 * the file in it.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { describeReport, sendHostile } from '../support/hostile-run.js';
import { JPEG } from '../support/jpeg-mutations.js';
import { mutateFiles } from '../support/mutations.js';
import { PNG } from '../support/png-mutations.js';
import { ServerProcess, SIMULATED, suiteScope } from '../support/server.js';
import { WEBP } from '../support/webp-mutations.js';

const COUNT = 450;
const SEED = 1;

describe('damaged files through the server', () => {
  const scope = suiteScope();
  let server: ServerProcess;

  before(async () => {
    server = await ServerProcess.start(scope, [...SIMULATED, '--permits', '16']);
  });

  for (const [format, mutations] of Object.entries({ JPEG, PNG, WebP: WEBP })) {
    test(`${format}: answered or rejected, quickly, and without effect on others`, async (t) => {
      const report = await sendHostile(
        t,
        server,
        mutateFiles(await mutations.draw(), mutations, COUNT, SEED),
      );
      t.diagnostic(describeReport(report));
      assert.deepEqual(report.problems, []);
      // If one of these were zero, the files would not be those that this test is about.
      assert(report.answered > COUNT / 20, 'hardly any was answered');
      assert((report.refused.IMAGE_UNDECODABLE ?? 0) > COUNT / 20, 'hardly any was refused');
    });
  }
});
