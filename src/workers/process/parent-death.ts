/**
 * Ends a child with its front, even while the child is stuck in native code.
 *
 * A child that waits for its next call sees the closed channel and ends. Inside a decoder or a
 * graph it cannot see that, so on Linux it has the kernel kill it when its parent dies:
 * `prctl(PR_SET_PDEATHSIG, SIGKILL)`, see prctl(2). Node has no call for it, hence the
 * foreign-function interface.
 */
import koffi from 'koffi';

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/** Does nothing on other systems than Linux: there only the closed channel ends a child. */
export function dieWithParent(parentPid: number): void {
  if (process.platform !== 'linux') return;
  const prctl = koffi.load(null).func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) !== 0)
    throw new Error('prctl(PR_SET_PDEATHSIG) failed');
  // The parent may have died before the call took effect; then the signal never comes.
  if (process.ppid !== parentPid) process.exit(1);
}
