/**
 * Three times the server's capacity: it goes on at its capacity, and rejects the rest at once.
 *
 * By default on a simulated accelerator of 20 ms an image, so that load and server don't fight for
 * the processor; `--on-model` plays it on the model.
 */
import { poissonCallers } from '../load-actors.js';
import {
  aftermath,
  MINUTE,
  measureCapacity,
  reported,
  type Scenario,
  startServer,
} from '../scenario.js';
import { growthAllowed, reasonsToFail } from '../verdict.js';

const TIMES = 3;
const GOODPUT_SHARE = 0.9;
const ACCELERATOR = ['--execution-provider', 'simulated:1:20'];

export const overload: Scenario = {
  about: '3 × capacity: goodput, quick refusals, Health Check and /metrics stay as they are',
  durationMs: 5 * MINUTE,
  async play(context) {
    const started = await startServer(context, context.onModel ? [] : ACCELERATOR);
    const capacity = await measureCapacity(started, context);
    const evidence = await reported(context, {
      ...started,
      actors: [poissonCallers(TIMES * capacity)],
    });
    const reasons = reasonsToFail(evidence, {
      refusals: ['OVERLOADED'],
      ...growthAllowed(context.durationMs),
      refusedP99Ms: 20,
      healthP99Ms: 50,
      metricsP99Ms: 100,
      loopP99Ms: 20,
    });
    const share = evidence.totals.right / evidence.seconds / capacity;
    context.say(`${'goodput'.padEnd(24)}  ${(100 * share).toFixed(1)} % of capacity`);
    if (share < GOODPUT_SHARE) reasons.push(`goodput is ${(100 * share).toFixed(1)} % of capacity`);
    return { reasons: [...reasons, ...(await aftermath(started))] };
  },
};
