/**
 * The main loop of every child process: set up, say ready, then answer calls one by one until the
 * front is gone.
 *
 * What holds: signals meant for the front (Ctrl-C and a closed terminal reach the whole process
 * group) do not end a child; a closed channel does. A child dies with its front (`parent-death.ts`)
 * and, when memory runs out, before it (`oom-score.ts`). Before the first call it gives up what it
 * no longer needs (`sandbox.ts`). A call that throws ends the process, and the supervisor restarts
 * it. The loop blocks in `read`, so timers and sockets of the child do not run between calls: a
 * call has to await all that it starts.
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

/** What the front sends first. `settings` are those of the program. */
export interface ChildInit<Settings> {
  readonly parentPid: number;
  /** Added niceness, 0 to 19; 0 leaves the priority alone. */
  readonly niceness: number;
  readonly settings: Settings;
}

/** What a child does: prepare once, then answer calls. */
export interface ChildProgram<Settings> {
  /** See `oom-score.ts`. */
  readonly oomScoreAdded: number;
  /** Prepares everything. Rejects with SetupError for problems that the operator can solve. */
  start(settings: Settings): Promise<{
    /** What to tell the front (JSON). Called once the process is in its sandbox. */
    readonly hello: () => Promise<unknown>;
    /** Answers a call with the bytes of the reply. */
    readonly answer: (call: Buffer) => Promise<Uint8Array>;
    /** What the sandbox takes away from now on. */
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
  // Before anything starts a thread: on Linux threads inherit the priority of the one that starts
  // them. It adds to that of the front, because only root may raise a priority.
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
