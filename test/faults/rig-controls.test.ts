/**
 * Tests the rig itself: servers that are wrong on purpose must fail, each for its own reason, and
 * an honest one must pass.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlainClient } from '../support/grpc-client.js';
import { CONTROLS, type Control } from './rig/control-server.js';
import { startControl } from './rig/controls.js';
import { closedCallers, poissonCallers } from './rig/load-actors.js';
import { verdictText } from './rig/report.js';
import { run } from './rig/run.js';
import { drawGood, knowPictures } from './rig/stage.js';
import { type Limits, reasonsToFail } from './rig/verdict.js';

const LIMITS: Limits = { refusals: [], memoryGrowthMib: 32, descriptorGrowth: 4 };

const VERDICTS: Readonly<Record<Control, RegExp>> = {
  honest: /^HOLDS$/,
  leaking: /^FAILS, because memory grows: by \d+\.\d MiB in the second half$/,
  swapping: /^FAILS, because \d+ answers were wrong \([^)]+\)$/,
  losing: /^FAILS, because \d+ requests were lost$/,
  rejecting: /^FAILS, because \d+ answers were wrong \([^)]*INVALID_ARGUMENT[^)]*\)$/,
};

describe('the verdict on a server that is', { concurrency: true }, () => {
  for (const control of CONTROLS) {
    test(control, async (t) => {
      const subject = await startControl(t, control);
      const pictures = await knowPictures(
        new PlainClient(t, subject.address),
        await drawGood(8),
        [],
      );
      const evidence = await run({
        subject,
        pictures,
        actors: [closedCallers(4), poissonCallers(60)],
        durationMs: 3_000,
        windowMs: 1_000,
        sampleMs: 150,
        patienceMs: 5_000,
      });
      const { sent, right } = evidence.totals;
      t.diagnostic(`${right} of ${sent} right; ${verdictText(reasonsToFail(evidence, LIMITS))}`);
      assert.match(verdictText(reasonsToFail(evidence, LIMITS)), VERDICTS[control]);
    });
  }
});
