/** Single figures, one after another, each on a server of its own. */
import { OwnScope } from '../../../support/server.js';
import { idlers, slowDrips, streamsAboveCap, watchers } from '../checks/connections.js';
import { farUploads } from '../checks/distance.js';
import { foreignFiles, largestPicture, lyingHeaders } from '../checks/images.js';
import { idle, leaving } from '../checks/quiet.js';
import { MINUTE, type Scenario } from '../scenario.js';

const CHECKS = {
  idle,
  leaving,
  farUploads,
  slowDrips,
  idlers,
  streamsAboveCap,
  watchers,
  foreignFiles,
  lyingHeaders,
  largestPicture,
};

export const checks: Scenario = {
  about: 'single figures: idleness, callers who leave, slow and idle ones, files made to hurt',
  durationMs: 4 * MINUTE,
  async play(context) {
    const reasons: string[] = [];
    for (const [name, { asked, measure }] of Object.entries(CHECKS)) {
      if (context.signal.aborted || (context.only !== null && context.only !== name)) continue;
      const scope = new OwnScope();
      const { figure, holds } = await measure(scope)
        .catch((error: unknown) => ({ figure: String(error), holds: false }))
        .finally(() => scope.end());
      context.say(
        `${holds ? 'holds' : 'FAILS'}  ${name.padEnd(15)}  ${asked}\n       ${''.padEnd(15)}  ${figure}`,
      );
      if (!holds) reasons.push(`${name}: ${figure}`);
    }
    return { reasons };
  },
};
