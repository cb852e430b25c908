/**
 * Why a child is gone, and whether its work may have caused that.
 *
 * A crash, an endless execution and malformed frames are self-inflicted. A kill from outside is
 * not, nor is a timeout of a process that was stopped from outside or got no processor time. An
 * operator and the kernel's out-of-memory killer send the same SIGKILL, and the latter kills the
 * largest process, which need not be the faulty one. So SIGKILL never counts as self-inflicted, and
 * decoders have a memory limit of their own (`sandbox.ts`).
 */
import { readFileSync } from 'node:fs';

export type ChildRole = 'decoder' | 'inference';

/** Why a child is gone. */
export type LossCause = 'exit' | 'signal' | 'timeout' | 'cpu' | 'protocol' | 'start';

export interface Loss {
  readonly cause: LossCause;
  /** For the log. */
  readonly detail: string;
  /** Whether its work may have caused the loss. */
  readonly selfInflicted: boolean;
}

/** The signals by which the kernel, the C library or V8 end a process for its own fault. */
const CRASHES: ReadonlySet<NodeJS.Signals> = new Set([
  'SIGSEGV',
  'SIGBUS',
  'SIGILL',
  'SIGFPE',
  'SIGABRT',
  'SIGTRAP',
  'SIGSYS',
]);

/** The loss of a process that the front did not kill. */
export function lossByExit(
  role: ChildRole,
  code: number | null,
  signal: NodeJS.Signals | null,
): Loss {
  if (signal !== null)
    return { cause: 'signal', detail: `signal ${signal}`, selfInflicted: CRASHES.has(signal) };
  // A graph has no reason to fail on pixels of a fixed size: the machine is at fault (such as no
  // GPU memory).
  return { cause: 'exit', detail: `exit code ${code}`, selfInflicted: role === 'decoder' };
}

/**
 * The loss of a process that the front is about to kill. Reads its state, so call it before.
 *
 * @param blameless its work is not at fault, whatever the cause
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
 * Whether a signal or a debugger has stopped the process; see proc_pid_stat(5). False where that is
 * unknown.
 */
function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
