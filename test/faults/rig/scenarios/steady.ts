/**
 * Four fifths of the machine's capacity: nothing fails, and the slowest answers are not far from
 * the usual one.
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

const SHARE = 0.8;
/** p99 over p50. Arrivals of a Poisson process queue behind each other even if nothing is wrong. */
const SPREAD = 5;

export const steady: Scenario = {
  about: '80 % of capacity: no errors, p99 within 5 × p50',
  durationMs: 10 * MINUTE,
  async play(context) {
    const started = await startServer(context);
    const rate = SHARE * (await measureCapacity(started, context));
    const evidence = await reported(context, { ...started, actors: [poissonCallers(rate)] });
    const limits = { refusals: [], ...growthAllowed(context.durationMs), spread: SPREAD };
    const reasons = reasonsToFail(evidence, limits);
    // Every call of gRPC ends with an event that is called cancelled.
    const cancelled = await started.server.metric('vitserve_requests_total', { code: 'CANCELLED' });
    const dropped = await started.server.metric('vitserve_dropped_images_total');
    context.say(`${'counted as cancelled'.padEnd(24)}  ${cancelled}; dropped ${dropped}`);
    if (cancelled + dropped > 0)
      reasons.push(`${cancelled} calls were counted as cancelled and ${dropped} as dropped`);
    return { reasons: [...reasons, ...(await aftermath(started))] };
  },
};
