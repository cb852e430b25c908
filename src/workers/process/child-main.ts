/**
 * The inside of every child process: set up, say ready, then answer calls one by one until the
 * front is gone.
 *
 * What holds: signals meant for the front (Ctrl-C and a closed terminal reach the whole process
 * group) don't end a child; a closed channel does; a front that died takes it along
 * (`parent-death.ts`), and one that runs out of memory ends before it (`oom-score.ts`); before the
 * first call it has given up what it does not need any more (`sandbox.ts`). A call that throws ends
 * the process, which its supervisor mends. The loop blocks in `read`, so timers and sockets of the
 * child don't run between calls: what a call starts, it has to await.
 */
import { getPriority, setPriority } from 'node:os';
import { messageOf, SetupError } from '../../errors.js';
import { encodeFrame, encodeJsonFrame, FrameTag, receiveFrame, sendFrame } from './frames.js';
import { addToOomScore } from './oom-score.js';
import { dieWithParent } from './parent-death.js';
import { confine, type ResourceLimits } from './sandbox.js';

/** Inherited descriptors, in the order in which `SupervisedChild` passes them. */
export const CHANNEL_FD = 3;
export const FIRST_SHARED_FD = 4;
/** The highest niceness there is. */
const LOWEST_PRIORITY = 19;

/** What the front sends first. `settings` is the room's own. */
export interface ChildInit<Settings> {
  readonly parentPid: number;
  /** Added niceness, 0 to 19; 0 leaves the priority alone. */
  readonly niceness: number;
  readonly settings: Settings;
}

/** What a room's child does: prepare once, then answer calls. */
export interface ChildProgram<Settings> {
  /** See `oom-score.ts`. */
  readonly oomScoreAdded: number;
  /**
   * Gets everything ready. Throws SetupError for what the operator can mend.
   */
  start(settings: Settings): Promise<{
    /** What to tell the front (JSON). Asked when the process has given up what it can. */
    readonly hello: () => Promise<unknown>;
    /** Answers a call with the bytes of the reply. */
    readonly answer: (call: Buffer) => Promise<Uint8Array>;
    /** What it can do without from now on. */
    readonly limits: ResourceLimits;
  }>;
}

export async function runChild<Settings>(program: ChildProgram<Settings>): Promise<never> {
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  const first = receiveFrame(CHANNEL_FD);
  if (first === null) process.exit(0);
  const init = JSON.parse(first.payload.toString()) as ChildInit<Settings>;
  dieWithParent(init.parentPid);
  addToOomScore(program.oomScoreAdded);
  // Before anything starts a thread: on Linux a priority belongs to a thread and is inherited by
  // those it starts. Added to what the front has: nobody but root may take a priority back that
  // `nice` has given away.
  if (init.niceness > 0) setPriority(Math.min(getPriority() + init.niceness, LOWEST_PRIORITY));

  let started: Awaited<ReturnType<ChildProgram<Settings>['start']>>;
  let hello: unknown;
  try {
    started = await program.start(init.settings);
    confine(started.limits);
    hello = await started.hello();
  } catch (error) {
    const kind = error instanceof SetupError ? error.kind : 'environment';
    const problems = error instanceof SetupError ? error.problems : [messageOf(error)];
    sendFrame(CHANNEL_FD, encodeJsonFrame(FrameTag.Failed, { kind, problems }));
    process.exit(1);
  }
  sendFrame(CHANNEL_FD, encodeJsonFrame(FrameTag.Ready, hello));

  for (;;) {
    const frame = receiveFrame(CHANNEL_FD);
    if (frame === null) process.exit(0);
    sendFrame(CHANNEL_FD, encodeFrame(FrameTag.Reply, await started.answer(frame.payload)));
  }
}
