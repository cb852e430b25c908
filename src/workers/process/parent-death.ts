/**
 * Ties a child's life to the front's, even while the child is stuck in native code.
 *
 * A child that waits for its next call sees the closed channel and ends. One that is inside a
 * decoder or a graph can't look; so on Linux the kernel is asked to kill it when its parent dies:
 * `prctl(PR_SET_PDEATHSIG, SIGKILL)`, see prctl(2). Node has no call for it, hence the
 * foreign-function interface.
 */
import koffi from 'koffi';

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Where the system has no parent-death signal, nothing is done: the closed channel is then the only
 * tie.
 */
export function dieWithParent(parentPid: number): void {
  if (process.platform !== 'linux') return;
  const prctl = koffi.load(null).func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) !== 0)
    throw new Error('prctl(PR_SET_PDEATHSIG) was refused');
  // The parent may have died before the call took effect; then nobody would ever send the signal.
  if (process.ppid !== parentPid) process.exit(1);
}
