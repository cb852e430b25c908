/** Four fifths of the machine's capacity, while its children are killed one after another. */
import { strikes } from '../fault-actors.js';
import { poissonCallers } from '../load-actors.js';
import {
  aftermath,
  MINUTE,
  measureCapacity,
  reported,
  type Scenario,
  SECOND,
  startServer,
} from '../scenario.js';
import { growthAllowed, reasonsToFail } from '../verdict.js';

const SHARE = 0.8;
const EVERY_MS = 10 * SECOND;
/** In runs too short for that. */
const FEWEST = 5;

export const kills: Scenario = {
  about:
    '80 % of capacity and a child killed every 10 s: no admitted call fails, no answer is wrong',
  durationMs: 10 * MINUTE,
  async play(context) {
    const started = await startServer(context);
    const rate = SHARE * (await measureCapacity(started, context));
    const everyMs = Math.min(EVERY_MS, context.durationMs / FEWEST);
    const evidence = await reported(context, {
      ...started,
      actors: [poissonCallers(rate)],
      faults: [strikes(started.server, { everyMs })],
    });
    const reasons = reasonsToFail(evidence, {
      refusals: ['OVERLOADED'],
      ...growthAllowed(context.durationMs),
    });
    if (evidence.faults === 0) reasons.push('no child was killed');
    return { reasons: [...reasons, ...(await aftermath(started))] };
  },
};
