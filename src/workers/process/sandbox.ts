/**
 * What a process gives up, so that whoever gets to run code in it has little to do it with. Linux
 * only; elsewhere nothing is done. Nothing of it can be taken back, by the process or by what it
 * starts.
 *
 * - No new privileges: set-user-id programs and file capabilities give it none
 *   (`PR_SET_NO_NEW_PRIVS`).
 * - Not dumpable: no core file, and no process of the same user can attach to it or read its memory
 *   (`PR_SET_DUMPABLE`); its figures in `/proc/PID/stat` stay readable.
 * - No descriptors beyond those it has: a limit of 0 open files (`RLIMIT_NOFILE`) lets the open
 *   ones be used and none be made, so there are no further files, sockets, pipes or devices.
 * - A bound on private memory (`RLIMIT_DATA`): beyond it allocations fail. Address space that is
 *   only reserved, of which V8 and WebAssembly take gigabytes, does not count, which is why this
 *   limit works where `RLIMIT_AS` does not.
 *
 * Not done here: a bound on processes (`RLIMIT_NPROC` counts threads of all processes of the user,
 * and libvips starts threads as it goes) and a filter of system calls, which is the container's
 * (seccomp). See prctl(2), getrlimit(2).
 */
import { readdirSync, readFileSync } from 'node:fs';
import koffi from 'koffi';

const F_SETFD = 2;
const FD_CLOEXEC = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
/** As numbered on all platforms of Linux that Node supports. */
const RLIMIT = { data: 2, core: 4, openFiles: 7 } as const;

/** What a child can do without once it is ready. */
export interface ResourceLimits {
  /** No descriptor can be made any more. */
  readonly noNewDescriptors: boolean;
  /** Private memory that the process may take beyond what it has now. Null: no bound. */
  readonly memoryBytes: number | null;
}

export const NO_LIMITS: ResourceLimits = { noNewDescriptors: false, memoryBytes: null };

/**
 * For a process that holds what others of the same user should not read: no core file, nobody
 * attaches to it.
 */
export function hideMemory(): void {
  if (process.platform !== 'linux') return;
  prctl(PR_SET_DUMPABLE, 0);
}

/**
 * For the front, before it has children: what it inherited from whoever started it goes no further.
 * (Node marks only what it opens itself.)
 */
export function keepDescriptors(): void {
  if (process.platform !== 'linux') return;
  const fcntl = koffi.load(null).func('int fcntl(int fd, int command, ...)');
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    // One may be gone by now: that of the folder itself.
    if (fd > 2) fcntl(fd, F_SETFD, 'int', FD_CLOEXEC);
  }
}

/**
 * For a child that has everything it needs, before it takes the first call. (Not before: CUDA has a
 * set-user-id program make its devices where they are not there yet.)
 */
export function confine({ noNewDescriptors, memoryBytes }: ResourceLimits): void {
  if (process.platform !== 'linux') return;
  prctl(PR_SET_NO_NEW_PRIVS, 1);
  hideMemory();
  setLimit(RLIMIT.core, 0);
  if (memoryBytes !== null) setLimit(RLIMIT.data, privateBytes() + memoryBytes);
  if (noNewDescriptors) setLimit(RLIMIT.openFiles, 0);
}

/** What RLIMIT_DATA counts, as it is now: `VmData` of proc_pid_status(5). */
function privateBytes(): number {
  const kibibytes = /^VmData:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return Number(kibibytes) * 1024;
}

function prctl(option: number, value: number): void {
  const call = koffi.load(null).func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
  if (call(option, value, 0, 0, 0) !== 0) throw new Error(`prctl(${option}) was refused`);
}

/** Soft and hard limit, so that it stays. */
function setLimit(resource: number, value: number): void {
  const call = koffi.load(null).func('int setrlimit(int resource, const void* limit)');
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(BigInt(value), 0);
  limit.writeBigUInt64LE(BigInt(value), 8);
  if (call(resource, limit) !== 0) throw new Error(`setrlimit(${resource}, ${value}) was refused`);
}
