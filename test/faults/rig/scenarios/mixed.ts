/**
 * The soak: every kind of caller and every kind of fault at once, at about half of the machine's
 * capacity, for long.
 */
import { strikes, vandals } from '../fault-actors.js';
import { badImages, hurried, leavers, poissonCallers } from '../load-actors.js';
import {
  aftermath,
  MINUTE,
  measureCapacity,
  reported,
  type Scenario,
  SECOND,
  startServer,
} from '../scenario.js';
import { streams } from '../stream-actors.js';
import { resets, slowUploads } from '../upload-actors.js';
import { growthAllowed, reasonsToFail } from '../verdict.js';

/** Stuck processes are given up sooner than by default, so that many can be in a run. */
const FLAGS = ['--inference-timeout', '2s'];
/** How long a decoder may take follows from these: 2 s. Photos of people's own may be larger. */
const DRAWN_FLAGS = ['--max-image-pixels', '4000000', '--max-image-bytes', '2MiB'];
const KILL_EVERY_MS = 10 * SECOND;
const STOP_EVERY_MS = 35 * SECOND;
const ATTACK_EVERY_MS = 20 * SECOND;

export const mixed: Scenario = {
  about: 'the soak: all kinds of callers, bad images, cancels, resets, kills, stops and floods',
  durationMs: 10 * MINUTE,
  async play(context) {
    const flags = context.photos === null ? [...FLAGS, ...DRAWN_FLAGS] : FLAGS;
    const started = await startServer(context, flags);
    const capacity = await measureCapacity(started, context);
    const often = (everyMs: number) => Math.min(everyMs, context.durationMs / 4);
    const { server } = started;
    const evidence = await reported(context, {
      ...started,
      actors: [
        poissonCallers(0.25 * capacity),
        leavers(0.05 * capacity),
        hurried(0.05 * capacity),
        badImages(0.05 * capacity),
        resets(Math.min(20, 0.05 * capacity)),
        streams(1, SECOND / (0.1 * capacity)),
        slowUploads(2, SECOND),
      ],
      faults: [
        strikes(server, { everyMs: often(KILL_EVERY_MS) }),
        strikes(server, { everyMs: often(STOP_EVERY_MS), signal: 'SIGSTOP' }),
        vandals(often(ATTACK_EVERY_MS)),
      ],
    });
    const reasons = reasonsToFail(evidence, {
      refusals: ['OVERLOADED', 'DEADLINE_UNREACHABLE'],
      ...growthAllowed(context.durationMs),
    });
    return { reasons: [...reasons, ...(await aftermath(started))] };
  },
};
