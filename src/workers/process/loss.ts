/**
 * Why a child is gone, and whether what it was working on may have done it.
 *
 * A crash, an endless execution and nonsense on the channel are the process's own doing. A kill
 * from outside is not, and neither is a process that was stopped from outside until its time was
 * over, or that others have left no processor time. An operator and the kernel's out-of-memory
 * killer send the same SIGKILL, and the latter takes the largest process, which need not be the one
 * at fault: so SIGKILL never counts, and memory has a bound of its own (`sandbox.ts`) that a
 * decoder can't pass.
 */
import { readFileSync } from 'node:fs';

export type ChildRole = 'decoder' | 'inference';

/** Why a child is gone. */
export type LossCause = 'exit' | 'signal' | 'timeout' | 'cpu' | 'protocol' | 'start';

export interface Loss {
  readonly cause: LossCause;
  /** For the log. */
  readonly detail: string;
  /** Whether what it was working on may have ended it. */
  readonly selfInflicted: boolean;
}

/** What the kernel, the C library or V8 ends a process with for something that it did. */
const CRASHES: ReadonlySet<NodeJS.Signals> = new Set([
  'SIGSEGV',
  'SIGBUS',
  'SIGILL',
  'SIGFPE',
  'SIGABRT',
  'SIGTRAP',
  'SIGSYS',
]);

/** A process that ended without having been killed by us. */
export function lossByExit(
  role: ChildRole,
  code: number | null,
  signal: NodeJS.Signals | null,
): Loss {
  if (signal !== null)
    return { cause: 'signal', detail: `signal ${signal}`, selfInflicted: CRASHES.has(signal) };
  // Pixels of a fixed size give a graph no reason to fail: when it does, the machine is in trouble
  // (no GPU memory left).
  return { cause: 'exit', detail: `exit code ${code}`, selfInflicted: role === 'decoder' };
}

/**
 * A process that is about to be killed. Asks the system how it is, so it has to be there still.
 *
 * @param blameless what it was working on is not at fault, whatever the cause
 */
export function lossByKill(
  cause: LossCause,
  detail: string,
  pid: number | undefined,
  blameless = false,
): Loss {
  const stopped = cause === 'timeout' && pid !== undefined && isStopped(pid);
  return stopped
    ? { cause, detail: `${detail}: it was stopped`, selfInflicted: false }
    : { cause, detail, selfInflicted: cause !== 'start' && !blameless };
}

/**
 * Whether a signal or a debugger holds the process; see proc_pid_stat(5). False where that can't be
 * told.
 */
function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
